"""Measures what the docs claim in figures, in one run, and writes docs/proof.md with plots.

- Operations a second through each fault, and who is back when: `failover.py`'s cases.
- What a checkout costs by pool size: `checkout.py`'s `idle`, with pools of several sizes.
- How long a silent server goes unnoticed, by `health_interval`: `failover.py`'s `silence`.

Cases take turns: each repetition runs every library through every fault. The figures go into a
JSON file after each case. `--resume` goes on from there after an interruption, or adds repetitions;
`--render` writes the page and README's table from it again.

    python benchmarks/proof.py [--quick] [--repeat N] [--resume] [--render]
        [--json benchmarks/proof.json]

Takes about three hours, with `--quick` 20 minutes a repetition: short limits, and one repetition
unless `--repeat` says otherwise.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from checkout import NAMES, TWO, Measure, machine, measure_in_rounds
from contestants import INTERVALS
from proof_page import readme_with, render
from proof_plots import write_plots
from scenarios import FAULTS
from timing import idle_checkouts

from failover import LIBRARIES, describe, run_case

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "proof.json"
COMPARED = [name for name in LIBRARIES if name != "pgmoor-0.1"]
SILENCE = "silence"
# Each statement of asyncpg commits itself: there is no COMMIT that could be lost.
LEFT_OUT = {("commit-undelivered", "asyncpg"), ("commit-unanswered", "asyncpg")}
# Several hundred connections for each library would be more than a small machine can take.
SIZES = {1: NAMES, 4: NAMES, 16: NAMES, 64: NAMES, 256: sorted(TWO)}

FULL = {"repeat": 5, "limit": 20.0, "outage": 8.0, "stale": 8.0, "show": 10.0}
QUICK = {"repeat": 1, "limit": 6.0, "outage": 3.0, "stale": 3.0, "show": 6.0}
FULL_ROUNDS = {"rounds": 15, "seconds": 0.25}
QUICK_ROUNDS = {"rounds": 5, "seconds": 0.1}

Results = dict[str, Any]


def cases(repeat: int) -> Iterator[tuple[int, str, str, str]]:
    """Yield the repetition, the part of the results, the library and the fault of each case."""
    for repetition in range(repeat):
        for fault in FAULTS:
            for library in COMPARED:
                if (fault, library) not in LEFT_OUT:
                    yield repetition, "faults", library, fault
        for interval in INTERVALS:
            yield repetition, "detection", f"pgmoor-{interval:g}", SILENCE


def measure_faults(results: Results, args: argparse.Namespace) -> None:
    for repetition, part, library, fault in cases(args.repeat):
        runs = results[part].setdefault(fault, {}).setdefault(library, [])
        if len(runs) > repetition:
            continue  # measured before an interruption
        found = run_case(library, fault, args)
        runs.append(found)
        save(results, args.json)
        line = describe(fault, {"hanging": 0, **found}).replace("\n", ", ")
        print(f"{fault}, {library}: {line}", file=sys.stderr, flush=True)


def measure_checkouts(results: Results, args: argparse.Namespace) -> None:
    for size, names in SIZES.items():
        if str(size) in results["checkout"]:
            continue
        measure = Measure(idle_checkouts, 0.45, pool=size)
        series = asyncio.run(measure_in_rounds(list(names), measure, args))
        results["checkout"][str(size)] = {name: one.micros for name, one in series.items()}
        save(results, args.json)
        print(f"checkout, pool of {size}", file=sys.stderr, flush=True)


def save(results: Results, path: Path) -> None:
    """Write the results, one line for each case, so that a difference can be read."""
    rounded = json.loads(json.dumps(results), parse_float=lambda text: float(f"{float(text):.4g}"))
    lines = json.dumps(rounded, indent=1, sort_keys=True)
    path.write_text(_joined(lines) + "\n", encoding="utf-8")


def _joined(text: str) -> str:
    """Put lists of numbers on one line each."""
    lines: list[str] = []
    for line in text.splitlines():
        number = line.strip().rstrip(",")
        if lines and number.replace(".", "", 1).replace("e-", "", 1).isdigit():
            lines[-1] += line.strip() if lines[-1].endswith("[") else f" {line.strip()}"
        elif lines and line.strip().startswith("]") and lines[-1][-1].isdigit():
            lines[-1] += line.strip()
        else:
            lines.append(line)
    return "\n".join(lines)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one repetition, short limits")
    parser.add_argument("--repeat", type=int, help="how often each fault is measured")
    parser.add_argument("--render", action="store_true", help="measure nothing, write the page")
    parser.add_argument("--resume", action="store_true", help="measure what is missing")
    parser.add_argument("--json", type=Path, default=RESULTS, help="where the figures are kept")
    parser.add_argument("--loop", choices=["asyncio", "uvloop"], default="asyncio")
    args = parser.parse_args()
    settings = {**QUICK, **QUICK_ROUNDS} if args.quick else {**FULL, **FULL_ROUNDS}
    settings["repeat"] = args.repeat or settings["repeat"]
    for name, value in {**settings, "promote_after": 0.0, "synchronous": False}.items():
        setattr(args, name, value)
    return args


def begin(args: argparse.Namespace) -> Results:
    """Return the results so far: none, or those of a run that was interrupted."""
    settings = {name: getattr(args, name) for name in (*FULL, *FULL_ROUNDS)}
    short = "--quick " if args.quick else ""
    command = f"python benchmarks/proof.py {short}--repeat {args.repeat}"
    if args.resume:
        found: Results = json.loads(args.json.read_text(encoding="utf-8"))
        if {**found["settings"], "repeat": args.repeat} != settings:
            sys.exit(f"{args.json} was measured with other settings; leave out --resume")
        return {**found, "settings": settings, "command": command}
    facts = {**machine(args.loop), "date": f"{datetime.now(UTC):%Y-%m-%d}"}
    kept = {"machine": facts, "settings": settings, "command": command}
    return {**kept, "faults": {}, "detection": {}, "checkout": {}}


def main() -> None:
    args = parse()
    # Like Ctrl-C: the running case ends with its servers.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    if not args.render:
        results = begin(args)
        measure_checkouts(results, args)
        measure_faults(results, args)
    results = json.loads(args.json.read_text(encoding="utf-8"))
    (ROOT / "docs" / "proof.md").write_text(render(results), encoding="utf-8")
    readme = ROOT / "README.md"
    text = readme_with(results, readme.read_text(encoding="utf-8"))
    readme.write_text(text, encoding="utf-8")
    write_plots(results, ROOT / "docs" / "proof")


if __name__ == "__main__":
    main()
