"""Measures the table of faults, at the defaults and with `health_interval=0.1`, for each Python and
each event loop, one environment after the other.

    python benchmarks/faults.py [--python PATH ...] [--loops asyncio,uvloop] [--rows crash,outage]
        [--repeat 3] [--quick] [--json FILE]

Each PATH is an interpreter with `pgmoor[test]` (default: this one). Figures are medians over the
repetitions; rows that take long run once.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from statistics import median
from typing import Any

from rows import ROWS

CASE = Path(__file__).with_name("faults_case.py")
LONG = {"outage", "frozen_long", "flapping"}
INTERVALS = {"defaults": 1.0, "0.1": 0.1}
SECONDS = {
    "back",
    "writable",
    "next checkout",
    "first checkout",
    "one after",
    "first",
    "later",
    "off its deadline",
    "late",
    "cut after",
    "back after",
}
# What is wanted at the defaults.
WANTED = {
    "crash": "back 0.1 s after it is writable; failed: in flight",
    "silence": "back 1.2 s (0.3 s with 0.1)",
    "freeze": "as silence",
    "demotion": "back 0.2 s; failed: one round of tasks",
    "outage": "back 1 s, 0.5 s in the median; none fails while waiting",
    "outage_too_long": "each at its own deadline ± 0.1 s",
    "idle_terminated": "next checkout under 20 ms",
    "one_terminated": "that one; no failover",
    "restarted": "first checkout under 50 ms",
    "frozen_shortly": "none fails",
    "frozen_long": "cut at 15 s ± 1 s; back 1 s after the thaw",
    "forgotten": "1.1 s for the rest",
    "first_silent": "first within 0.3 s; later ones pay nothing",
    "old_primary": "none",
    "preferred_back": "none fails",
    "flapping": "limit: one failover",
    "all_standby": "back 0.2 s",
    "saturated": "when slots free; none fails",
    "starting": "back 0.2 s",
    "slow_query": "the connection survives",
    "slow_query_silent": "1.1 s",
    "close_frozen": "0.1 s",
}
Cell = dict[str, list[float]]


def environments(args: argparse.Namespace) -> list[tuple[str, list[str]]]:
    found = []
    for python in args.python or [sys.executable]:
        version = subprocess.run(
            [python, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for loop in args.loops.split(","):
            for label, interval in INTERVALS.items():
                command = [python, str(CASE), "--loop", loop, "--interval", str(interval)]
                found.append((f"{version} {loop} {label}", command))
    return found


def play(command: list[str], rows: list[str], repeat: int) -> dict[str, Cell]:
    """Run one environment; return the figures of each row."""
    cells: dict[str, Cell] = defaultdict(lambda: defaultdict(list))
    env = {**os.environ, "PYTHONWARNINGS": "ignore"}
    with subprocess.Popen(
        [*command, "--rows", ",".join(rows), "--repeat", str(repeat)],
        stdout=subprocess.PIPE,
        text=True,
        env=env,
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            found = json.loads(line)
            print("  ", line.strip(), flush=True)
            for name, value in found["figures"].items():
                cells[found["row"]][name].append(value)
    return cells


def show(cell: Cell) -> str:
    """Return the medians of one cell as text."""
    if "problem" in cell:
        return f"? {cell['problem'][0]}"
    words = []
    for name, values in cell.items():
        value = median(values)
        if name == "never":
            words.append("**never**")
        elif name in SECONDS:
            words.append(f"{name} {value * 1000:.0f} ms" if value < 1 else f"{name} {value:.1f} s")
        else:
            words.append(f"{name} {value:.0f}")
    return ", ".join(words)


def table(results: dict[str, dict[str, Cell]], rows: list[str]) -> str:
    columns = list(results)
    lines = [
        "| fault | wanted | " + " | ".join(columns) + " |",
        "|---|---|" + "---|" * len(columns),
    ]
    for row in rows:
        title = (ROWS[row].__doc__ or row).strip()
        cells = [show(results[column].get(row, {})) for column in columns]
        lines.append(f"| {title} | {WANTED[row]} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--python", action="append")
    parser.add_argument("--loops", default="asyncio,uvloop")
    parser.add_argument("--rows", default=",".join(ROWS))
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="one run, without the long rows")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    rows = [row for row in args.rows.split(",") if not (args.quick and row in LONG)]
    repeat = 1 if args.quick else args.repeat
    results: dict[str, dict[str, Any]] = {}
    for name, command in environments(args):
        print(name, flush=True)
        results[name] = {}
        for times, some in ((repeat, set(rows) - LONG), (1, set(rows) & LONG)):
            chosen = [row for row in rows if row in some]
            results[name].update(play(command, chosen, times) if chosen else {})
    if args.json:
        args.json.write_text(json.dumps(results, indent=1))
    print(table(results, rows))


if __name__ == "__main__":
    main()
