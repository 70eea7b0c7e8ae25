"""What pgmoor costs while nothing is wrong, compared with similar libraries.

It takes five measurements in one run, against one PostgreSQL server on this machine:

- idle: one task takes a connection and gives it back, and executes nothing. Microseconds.
- select: 64 tasks share 4 connections; each takes one and runs `SELECT 1`, in a transaction, which
  is the libraries' default. Microseconds for one, and how many a second.
- autocommit: the same with autocommit, for libraries on psycopg.
- import: the time of `python -c "import X"` above that of `python -c pass`. Milliseconds.
- rest: the processor time of an unused manager over three servers, the connections that each server
  sees from it, and the cost of one `health()`.

The first three go in rounds: in each round every library gets a short slice, in random order.
Ratios to psycopg_pool are taken within a round; the medians over the rounds are shown.

    python benchmarks/checkout.py [--rounds 15] [--seconds 0.25] [--only pgmoor,psycopg_pool]
        [--measures idle,select,autocommit,import,rest] [--loop uvloop] [--json FILE]
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
from importlib.metadata import version
from pathlib import Path
from random import shuffle
from statistics import median
from time import perf_counter, process_time
from typing import Any

import uvloop
from contestants import CONTESTANTS, Contestant, Hasql, Pgmoor, PsycopgPool
from rich.console import Console
from rich.table import Table
from timing import Series, compare, crowded_selects, idle_checkouts, time_call

from pgmoor.testing import Cluster

REFERENCE = "psycopg_pool"
NAMES = [name for name in CONTESTANTS if name not in {"psycopg_pool+check+tcp", "pgmoor-0.1"}]
MEASURES = ["idle", "select", "autocommit", "import", "rest"]
POOL = 4
WANTED = {"idle": 0.85, "select": 0.95, "autocommit": 0.95, "import": 1.2}
WANTED_REST = 0.3  # percent of a core
WANTED_HEALTH = 50.0  # microseconds
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


async def measure_checkouts(
    names: list[str], what: str, args: argparse.Namespace
) -> dict[str, Series]:
    """Open all libraries on one server and measure them in turns."""
    autocommit = what == "autocommit"
    if autocommit:
        names = [name for name in names if CONTESTANTS[name].has_autocommit]
    async with Cluster(0, settings={"max_connections": "150"}) as cluster:
        servers = [(cluster[0].host, cluster[0].port)]
        contestants: dict[str, Contestant] = {}
        try:
            for name in names:
                contestant = CONTESTANTS[name](
                    servers, min_size=POOL, max_size=POOL, autocommit=autocommit
                )
                await contestant.open()
                contestants[name] = contestant
            run = idle_checkouts if what == "idle" else crowded_selects
            return await compare(contestants, run, rounds=args.rounds, seconds=args.seconds)
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


async def measure_rest(seconds: float) -> dict[str, dict[str, Any]]:
    """Leave each library idle with three servers; measure it, and count its connections."""
    found: dict[str, dict[str, Any]] = {}
    async with Cluster(2) as cluster:
        servers = [(node.host, node.port) for node in cluster]
        kinds: list[tuple[str, type[Contestant]]] = [
            (REFERENCE, PsycopgPool),
            ("pgmoor", Pgmoor),
            ("hasql", Hasql),
        ]
        for name, kind in kinds:
            contestant = kind(servers, min_size=POOL, max_size=POOL)
            await contestant.open()
            await asyncio.sleep(1)
            before, began = process_time(), perf_counter()
            await asyncio.sleep(seconds)
            share = (process_time() - before) / (perf_counter() - began) * 100
            found[name] = {"core_percent": share, "connections": await _count(cluster)}
            if isinstance(contestant, Pgmoor):
                found[name]["health_us"] = await time_call(contestant.manager.health, 500)
            await contestant.close()
    return found


async def _count(cluster: Cluster) -> list[int]:
    query = (
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
    )
    return [(await node.sql(query))[0][0] for node in cluster]


def show_series(console: Console, what: str, series: dict[str, Series]) -> None:
    unit, scale = ("ms", 1e-3) if what == "import" else ("µs", 1.0)
    table = Table(title=what, title_justify="left")
    table.add_column("library")
    for column in (f"median {unit}", "least", "a second", f"x {REFERENCE}", "wanted"):
        table.add_column(column, justify="right")
    reference = series[REFERENCE]
    for name, one in sorted(series.items(), key=lambda item: item[1].median):
        rate = "" if what == "import" else f"{1e6 / one.median:,.0f}"
        wanted = f"<= {WANTED[what]:.2f}" if name == "pgmoor" else ""
        figures = (f"{one.median * scale:.1f}", f"{min(one.micros) * scale:.1f}", rate)
        table.add_row(name, *figures, f"{one.ratio(reference):.2f}", wanted)
    console.print(table)


def show_rest(console: Console, found: dict[str, dict[str, Any]]) -> None:
    table = Table(title="rest: three servers, no callers", title_justify="left")
    for column in ("library", "% of a core", "wanted", "connections", "health() µs", "wanted"):
        table.add_column(column, justify="right" if column != "library" else "left")
    for name, figures in found.items():
        mine = name == "pgmoor"
        table.add_row(
            name,
            f"{figures['core_percent']:.2f}",
            f"<= {WANTED_REST}" if mine else "",
            " + ".join(map(str, figures["connections"])),
            f"{figures['health_us']:.1f}" if mine else "",
            f"<= {WANTED_HEALTH:.0f}" if mine else "",
        )
    console.print(table)


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--seconds", type=float, default=0.25, help="of one slice")
    parser.add_argument("--rest-seconds", type=float, default=10.0)
    parser.add_argument("--only", default=",".join(NAMES), help="libraries, with commas")
    parser.add_argument("--measures", default=",".join(MEASURES))
    parser.add_argument("--loop", choices=["asyncio", "uvloop"], default="asyncio")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args(argv)
    args.only = list(dict.fromkeys([REFERENCE, *args.only.split(",")]))
    args.measures = args.measures.split(",")
    for given, known in ((args.only, CONTESTANTS), (args.measures, MEASURES)):
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
                results[what] = runner.run(measure_rest(args.rest_seconds))
                show_rest(console, results[what])
                continue
            if what == "import":
                series = measure_imports(max(args.rounds, 15))
            else:
                series = runner.run(measure_checkouts(args.only, what, args))
            show_series(console, what, series)
            results[what] = {
                name: {"micros": one.micros, "ratio": one.ratio(series[REFERENCE])}
                for name, one in series.items()
            }
    if args.json:
        args.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
