"""How long callers of pgmoor and other libraries wait after a fault, and how many operations fail.

Real PostgreSQL servers: a primary and a streaming standby, each behind a proxy. 16 tasks each take
a connection, `INSERT`, commit and pause 20 ms; the pool has 4 to 8 connections; the application
sets no timeout. Every library is at its defaults, but with several hosts, a preference for the
writable one, and a pre-ping if its name says so. Each fault happens once all tasks work.

Each cell shows
- *back*: seconds from the fault until every task works again and no error follows for 2 s; in
  brackets the part of it after a server accepted writes again. After an outage the time counts from
  the server's return.
- *failed*: operations that raised after the fault.
- For `stale`: rows that were acknowledged and written to a server that is no longer the primary.
- With `--synchronous`, where the primary waits for its standby: *lost*, acknowledged rows that the
  last primary lacks, and *twice*, rows that it has again.
- *never*: not within `--limit` seconds after a server accepted writes.

A proxy is not a cable: its kernel acknowledges the packets that it drops. TCP's own limits, which
would notice lost packets after some seconds, see nothing here.

Each case, a library and a fault, runs in its own process with its own servers, one after the other.

    python benchmarks/failover.py [--only pgmoor,asyncpg] [--faults crash,silence] [--repeat 3]
        [--limit 20] [--outage 8] [--promote-after 0] [--quick] [--synchronous]
        [--loop uvloop] [--json FILE]

Exit status: with `--synchronous` 1 if of `pgmoor-run` an operation failed, was lost or happened
twice; else 0.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from statistics import median
from typing import Any

from contestants import CONTESTANTS
from rich.console import Console
from rich.table import Table
from scenarios import FAULTS

LIBRARIES = [
    "pgmoor",
    "pgmoor-run",
    "pgmoor-0.1",
    "psycopg_pool",
    "psycopg_pool+check",
    "psycopg_pool+check+tcp",
    "asyncpg",
    "sqlalchemy",
    "hasql",
]
CASE = Path(__file__).with_name("failover_case.py")
PROMOTIONS = frozenset({"crash", "silence", "freeze", "demotion"})
GRACE = 45.0  # seconds for starting servers, flowing, stopping
Result = dict[str, Any]


def run_case(library: str, fault: str, args: argparse.Namespace) -> Result:
    """Run one case in a process of its own; end it and its servers if it takes too long."""
    command = [sys.executable, str(CASE), "--library", library, "--fault", fault]
    for name in ("limit", "outage", "stale", "promote-after", "show", "loop"):
        command += [f"--{name}", str(getattr(args, name.replace("-", "_")))]
    if args.synchronous:
        command.append("--synchronous")
    limit = args.limit + GRACE + max(args.outage, args.stale) + args.promote_after + args.show
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            output, errors = process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            end(process)
            return {"problem": f"the process did not end within {limit:.0f} s"}
        except BaseException:
            end(process)
            raise
    if process.returncode != 0:
        return {"problem": (errors.strip().splitlines() or ["no output"])[-1]}
    result: Result = json.loads(output)
    return result


def end(process: subprocess.Popen[str]) -> None:
    """Terminate a case, so that it ends its servers; kill it and all below it if it doesn't."""
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        for pid in [*descendants(process.pid), process.pid]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        process.wait()


def descendants(pid: int) -> list[int]:
    """Return the processes below *pid*; PostgreSQL's have their own sessions."""
    found: list[int] = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, path.read_text().split()):
            found += [child, *descendants(child)]
    return found


def merge(results: list[Result]) -> Result:
    """Return the medians of repeated runs; "never" if one of them never came back."""
    good = [one for one in results if "problem" not in one]
    if not good:
        return results[0]
    merged: Result = {}
    for key in ("back", "after_writable", "failed", "lost", "hanging", "missing", "twice"):
        values = [one[key] for one in good]
        merged[key] = None if None in values else median(values)
    merged["runs"] = results
    return merged


def describe(fault: str, result: Result, *, synchronous: bool = False) -> str:
    if "problem" in result:
        return f"? {result['problem'][:60]}"
    failed = f"{result['failed']:,.0f} failed"
    if synchronous:
        failed += f"\n{result['missing']:.0f} lost, {result['twice']:.0f} twice"
    if fault == "stale":
        return f"{result['lost']:,.0f} rows lost\n{failed}"
    if result["back"] is None:
        hanging = f", {result['hanging']:.0f} hang" if result["hanging"] else ""
        return f"never\n{failed}{hanging}"
    after = f" ({result['after_writable']:.2f})" if fault in PROMOTIONS else ""
    return f"{result['back']:.2f} s{after}\n{failed}"


def show(console: Console, table: dict[str, dict[str, Result]], *, synchronous: bool) -> None:
    faults = list(next(iter(table.values())))
    shown = Table(title="back (after a server accepted writes), failed", show_lines=True)
    shown.add_column("library")
    for fault in faults:
        shown.add_column(fault)
    for library, results in table.items():
        shown.add_row(
            library, *(describe(fault, results[fault], synchronous=synchronous) for fault in faults)
        )
    console.print(shown)


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", default=",".join(LIBRARIES), help="libraries, with commas")
    parser.add_argument("--faults", default=",".join(FAULTS), help="with commas")
    parser.add_argument("--repeat", type=int, default=1, help="runs of each case; medians")
    parser.add_argument("--limit", type=float, default=20.0, help="seconds until 'never'")
    parser.add_argument("--outage", type=float, default=8.0, help="seconds the server is away")
    parser.add_argument("--stale", type=float, default=8.0, help="seconds beside a stale primary")
    parser.add_argument(
        "--promote-after", type=float, default=0.0, help="seconds from the fault to the promotion"
    )
    parser.add_argument(
        "--synchronous", action="store_true", help="the primary waits for a standby"
    )
    parser.add_argument(
        "--show", type=float, default=0.0, help="seconds after the fault whose rates are kept"
    )
    parser.add_argument("--quick", action="store_true", help="limit 6 s, outage 3 s, stale 3 s")
    parser.add_argument("--loop", choices=["asyncio", "uvloop"], default="asyncio")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args(argv)
    if args.quick:
        args.limit, args.outage, args.stale = 6.0, 3.0, 3.0
    args.only, args.faults = args.only.split(","), args.faults.split(",")
    for given, known in ((args.only, CONTESTANTS), (args.faults, FAULTS)):
        if unknown := set(given) - set(known):
            parser.error(f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(known)}")
    return args


def unharmed(results: dict[str, Result]) -> bool:
    """Return whether nothing failed, was lost or happened twice, in no case."""
    return all(
        "problem" not in one and not (one["failed"] or one["missing"] or one["twice"])
        for one in results.values()
    )


def main() -> int:
    args = parse()
    # Like Ctrl-C: the running case ends with its servers.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    table: dict[str, dict[str, Result]] = {library: {} for library in args.only}
    for fault in args.faults:
        for library in args.only:
            runs = [run_case(library, fault, args) for _ in range(args.repeat)]
            result = table[library][fault] = merge(runs)
            line = describe(fault, result, synchronous=args.synchronous).replace("\n", ", ")
            print(f"{fault}, {library}: {line}", file=sys.stderr, flush=True)
    show(Console(width=160), table, synchronous=args.synchronous)
    if args.json:
        facts = {
            "promote_after": args.promote_after,
            "limit": args.limit,
            "outage": args.outage,
            "stale": args.stale,
            "loop": args.loop,
            "synchronous": args.synchronous,
        }
        args.json.write_text(json.dumps({**facts, "results": table}, indent=1))
    return 0 if not args.synchronous or unharmed(table.get("pgmoor-run", {})) else 1


if __name__ == "__main__":
    sys.exit(main())
