"""What pgmoor costs while nothing is wrong, compared with similar libraries.

Against one PostgreSQL server on this machine, in one run:

- idle: one task takes a connection and gives it back, and executes nothing; pool of 4.
- idle512: the same, pool of 512.
- pair: the same with `getconn()` and `putconn()`, for libraries that have them.
- one: one task takes a connection and runs `SELECT 1`, in a transaction, which is the libraries'
  default.
- select, crowd: the same by 64, and by 4,096 tasks that share 4 connections.
- autocommit: `select` in autocommit, for libraries on psycopg.
- open: from nothing to a pool of 4 connections, `open(wait=True)`.
- import: the time of `python -c "import X"` above that of `python -c pass`.
- size: the memory and the tasks of an open pool with 4 connections.
- rest: the processor time of an unused manager over three servers, the connections that each server
  sees from it, and the cost of one `health()`.
- many: the same for 100 managers of one cluster, with and without sharing their probes, and how
  long a failover of all of them takes.

All but the last four go in rounds: in each round every library gets a short slice, in random
order. Ratios to psycopg_pool are taken within a round; the medians over the rounds are shown. A
figure that misses what is wanted of it says so.

    python benchmarks/checkout.py [--rounds 15] [--seconds 0.25] [--only pgmoor,psycopg_pool]
        [--measures idle,select,open] [--loop uvloop] [--json FILE]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from random import shuffle
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING, Any

import uvloop
from contestants import CONTESTANTS, Contestant
from resting import measure_many, measure_rest, measure_size, show_many, show_rest, show_size
from rich.console import Console
from rich.table import Table
from timing import Series, compare, crowded_selects, idle_checkouts, opening, pairs

from pgmoor.testing import Cluster

if TYPE_CHECKING:
    from timing import Slice

REFERENCE = "psycopg_pool"
# Other settings of pgmoor, and TCP limits, change nothing here.
NAMES = [name for name in CONTESTANTS if not name.startswith("pgmoor-") and "tcp" not in name]
TWO = frozenset({REFERENCE, "pgmoor"})
POOL = 4


@dataclass(frozen=True)
class Measure:
    """What is measured in rounds, and what is wanted of pgmoor."""

    slice: Slice
    wanted: float  # times psycopg_pool; with `excess`, milliseconds more
    pool: int = POOL
    autocommit: bool = False
    excess: bool = False
    only: frozenset[str] = frozenset(CONTESTANTS)
    unit: str = "µs"


MEASURES = {
    "idle": Measure(idle_checkouts, 0.45),
    "idle512": Measure(idle_checkouts, 0.45, pool=512, only=TWO),
    "pair": Measure(pairs, 0.60, only=TWO | {"psycopg_pool+check"}),
    "one": Measure(partial(crowded_selects, tasks=1), 0.97),
    "select": Measure(crowded_selects, 0.80),
    "crowd": Measure(partial(crowded_selects, tasks=4096), 0.60),
    "autocommit": Measure(crowded_selects, 0.95, autocommit=True),
    "open": Measure(opening, 10.0, excess=True, unit="ms"),
}
IMPORT = Measure(opening, 1.20, unit="ms")  # in processes of its own
OTHERS = ["import", "size", "rest", "many"]
PACKAGES = ["psycopg", "psycopg-pool", "asyncpg", "sqlalchemy", "hasql", "uvloop"]


def machine(loop: str) -> dict[str, Any]:
    return {
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()}",
        "loop": loop,
        "load": os.getloadavg()[0],
        **{name: version(name) for name in ["pgmoor", *PACKAGES]},
    }


async def measure_in_rounds(
    names: list[str], measure: Measure, args: argparse.Namespace
) -> dict[str, Series]:
    """Open all libraries on one server and measure them in turns."""
    names = [name for name in names if name in measure.only]
    if measure.autocommit:
        names = [name for name in names if CONTESTANTS[name].has_autocommit]
    room = {"max_connections": str(measure.pool * (len(names) + 2) + 100)}
    async with Cluster(0, settings=room) as cluster:
        servers = [(cluster[0].host, cluster[0].port)]
        contestants: dict[str, Contestant] = {}
        try:
            for name in names:
                contestant = CONTESTANTS[name](
                    servers,
                    min_size=measure.pool,
                    max_size=measure.pool,
                    autocommit=measure.autocommit,
                )
                await contestant.open()
                contestants[name] = contestant
            rounds, seconds = args.rounds, args.seconds
            return await compare(contestants, measure.slice, rounds=rounds, seconds=seconds)
        finally:
            for contestant in contestants.values():
                await contestant.close()


def measure_imports(rounds: int) -> dict[str, Series]:
    """Start interpreters in turns, and subtract the time of an empty one.

    Bytecode is cached, whatever the environment says, as in an installed program.
    """
    codes = {"nothing": "pass", REFERENCE: "import psycopg_pool", "pgmoor": "import pgmoor"}
    times: dict[str, list[float]] = {name: [] for name in codes}
    with tempfile.TemporaryDirectory() as cache:
        env = {**os.environ, "PYTHONPYCACHEPREFIX": cache, "PYTHONDONTWRITEBYTECODE": ""}
        for turn in range(rounds + 1):
            order = list(codes)
            shuffle(order)
            for name in order:
                began = perf_counter()
                subprocess.run([sys.executable, "-c", codes[name]], check=True, env=env)
                if turn:  # the first turn writes the bytecode and warms the file cache
                    times[name].append(perf_counter() - began)
    floor = median(times["nothing"])
    return {
        name: Series([(seconds - floor) * 1e6 for seconds in times[name]])
        for name in (REFERENCE, "pgmoor")
    }


def show_series(console: Console, what: str, measure: Measure, series: dict[str, Series]) -> None:
    scale = 1e-3 if measure.unit == "ms" else 1.0
    table = Table(title=what, title_justify="left")
    table.add_column("library")
    beside = f"more than {REFERENCE}" if measure.excess else f"x {REFERENCE}"
    for column in (f"median {measure.unit}", "least", "a second", beside, "wanted"):
        table.add_column(column, justify="right")
    reference = series[REFERENCE]
    for name, one in sorted(series.items(), key=lambda item: item[1].median):
        rate = "" if measure.unit == "ms" else f"{1e6 / one.median:,.0f}"
        figure = one.excess(reference) * scale if measure.excess else one.ratio(reference)
        wanted = "MISSED " if name == "pgmoor" and figure > measure.wanted else ""
        wanted += f"<= {measure.wanted:.2f}" if name == "pgmoor" else ""
        figures = (f"{one.median * scale:.1f}", f"{min(one.micros) * scale:.1f}", rate)
        table.add_row(name, *figures, f"{figure:.2f}", wanted)
    console.print(table)


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--seconds", type=float, default=0.25, help="of one slice")
    parser.add_argument("--rest-seconds", type=float, default=10.0)
    parser.add_argument("--only", default=",".join(NAMES), help="libraries, with commas")
    parser.add_argument("--measures", default=",".join([*MEASURES, *OTHERS]))
    parser.add_argument("--loop", choices=["asyncio", "uvloop"], default="asyncio")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args(argv)
    args.only = list(dict.fromkeys([REFERENCE, *args.only.split(",")]))
    args.measures = args.measures.split(",")
    for given, known in ((args.only, CONTESTANTS), (args.measures, [*MEASURES, *OTHERS])):
        if unknown := set(given) - set(known):
            parser.error(f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(known)}")
    return args


def main() -> None:
    args = parse()
    factory = uvloop.new_event_loop if args.loop == "uvloop" else asyncio.new_event_loop
    console = Console(width=100)
    facts = machine(args.loop)
    console.print(", ".join(f"{key} {value}" for key, value in facts.items()))
    results: dict[str, Any] = {"machine": facts}
    with asyncio.Runner(loop_factory=factory) as runner:
        for what in args.measures:
            if what == "rest":
                results[what] = runner.run(measure_rest(args.rest_seconds, POOL))
                show_rest(console, results[what])
                continue
            if what == "many":
                results[what] = runner.run(measure_many(args.rest_seconds))
                show_many(console, results[what])
                continue
            if what == "size":
                results[what] = runner.run(measure_size(POOL))
                show_size(console, results[what])
                continue
            if what == "import":
                measure, series = IMPORT, measure_imports(max(args.rounds, 15))
            else:
                measure = MEASURES[what]
                series = runner.run(measure_in_rounds(args.only, measure, args))
            show_series(console, what, measure, series)
            results[what] = {
                name: {"micros": one.micros, "ratio": one.ratio(series[REFERENCE])}
                for name, one in series.items()
            }
    if args.json:
        args.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
