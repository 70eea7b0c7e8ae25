"""What an open pool or manager takes while nobody uses it: memory, tasks, time, connections."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from time import perf_counter, process_time
from typing import TYPE_CHECKING, Any

from contestants import Contestant, Hasql, Pgmoor, PsycopgPool
from rich.table import Table
from timing import time_call

from pgmoor.testing import Cluster

if TYPE_CHECKING:
    from rich.console import Console

WANTED_REST = 0.3  # percent of a core
WANTED_HEALTH = 50.0  # microseconds
WANTED_TASKS = 8

KINDS: list[tuple[str, type[Contestant]]] = [
    ("psycopg_pool", PsycopgPool),
    ("pgmoor", Pgmoor),
    ("hasql", Hasql),
]


async def measure_rest(seconds: float, size: int) -> dict[str, dict[str, Any]]:
    """Leave each library idle with three servers; measure it, and count its connections."""
    found: dict[str, dict[str, Any]] = {}
    async with Cluster(2) as cluster:
        servers = [(node.host, node.port) for node in cluster]
        for name, kind in KINDS:
            contestant = kind(servers, min_size=size, max_size=size)
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


async def measure_size(size: int) -> dict[str, dict[str, Any]]:
    """Count what the second of two open ones adds: the first brings caches and imports.

    Memory is what Python allocates; libpq's own and the server's are not in it.
    """
    found: dict[str, dict[str, Any]] = {}
    async with Cluster(0) as cluster:
        servers = [(cluster[0].host, cluster[0].port)]
        for name, kind in KINDS[:2]:
            first, second = (kind(servers, min_size=size, max_size=size) for _ in range(2))
            await first.open()
            await asyncio.sleep(1)
            gc.collect()
            tracemalloc.start()
            tasks = len(asyncio.all_tasks())
            await second.open()
            await asyncio.sleep(1)
            gc.collect()
            memory = tracemalloc.get_traced_memory()[0] / 1024
            tracemalloc.stop()
            found[name] = {"kib": memory, "tasks": len(asyncio.all_tasks()) - tasks}
            await first.close()
            await second.close()
    return found


def show_rest(console: Console, found: dict[str, dict[str, Any]]) -> None:
    table = Table(title="rest: three servers, no callers", title_justify="left")
    for column in ("library", "% of a core", "wanted", "connections", "health() µs", "wanted"):
        table.add_column(column, justify="right" if column != "library" else "left")
    for name, figures in found.items():
        mine = name == "pgmoor"
        table.add_row(
            name,
            f"{figures['core_percent']:.2f}",
            _wanted(figures["core_percent"], WANTED_REST) if mine else "",
            " + ".join(map(str, figures["connections"])),
            f"{figures['health_us']:.1f}" if mine else "",
            _wanted(figures["health_us"], WANTED_HEALTH) if mine else "",
        )
    console.print(table)


def show_size(console: Console, found: dict[str, dict[str, Any]]) -> None:
    table = Table(title="size: one server, 4 connections, no callers", title_justify="left")
    table.add_column("library")
    for column in ("KiB", "tasks", "wanted"):
        table.add_column(column, justify="right")
    for name, figures in found.items():
        wanted = _wanted(figures["tasks"], WANTED_TASKS) if name == "pgmoor" else ""
        table.add_row(name, f"{figures['kib']:.0f}", str(figures["tasks"]), wanted)
    console.print(table)


def _wanted(figure: float, most: float) -> str:
    missed = "MISSED " if figure > most else ""
    return f"{missed}<= {most:g}"
