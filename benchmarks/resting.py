"""What an open pool or manager takes while nobody uses it: memory, tasks, time, connections."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from time import monotonic, perf_counter, process_time
from typing import TYPE_CHECKING, Any

from contestants import Contestant, Hasql, Pgmoor, PsycopgPool
from rich.table import Table
from timing import time_call

from pgmoor import ConnectionManager, HostWatch
from pgmoor.events import Failover
from pgmoor.testing import Cluster

if TYPE_CHECKING:
    from rich.console import Console

    from pgmoor.events import Event

WANTED_MANY = 0.6  # percent of a core, for `MANY` managers that share their probes
MANY = 100
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


async def measure_many(seconds: float, count: int = MANY) -> dict[str, dict[str, Any]]:
    """Leave many managers of one cluster idle, with and without a shared watch; then fail over."""
    found: dict[str, dict[str, Any]] = {}
    for name in ("shared", "each its own"):
        async with Cluster(1, settings={"max_connections": str(4 * count + 50)}) as cluster:
            managers = [
                ConnectionManager(
                    cluster.conninfo(),
                    min_size=0,
                    max_size=1,
                    watch=None if name == "shared" else HostWatch(),
                )
                for _ in range(count)
            ]
            await asyncio.gather(*(manager.open() for manager in managers))
            await asyncio.gather(*(manager.wait_ready() for manager in managers))
            await asyncio.sleep(5)
            before, began = process_time(), perf_counter()
            await asyncio.sleep(seconds)
            share = (process_time() - before) / (perf_counter() - began) * 100
            found[name] = {"core_percent": share, "probe_sessions": await _count(cluster)}
            found[name].update(await _fail_over(cluster, managers))
            await asyncio.gather(*(manager.close() for manager in managers))
    return found


async def _fail_over(cluster: Cluster, managers: list[ConnectionManager]) -> dict[str, float]:
    """Kill the primary; return when the managers had moved, and when each had served a caller."""
    moved: list[float] = []

    def note(event: Event) -> None:
        if isinstance(event, Failover):
            moved.append(monotonic())

    async def serve(manager: ConnectionManager) -> None:
        async with manager.connection(timeout=60) as conn:
            assert conn.info.port == cluster[1].port

    for manager in managers:
        manager.subscribe(note)
    await cluster[0].kill()
    await cluster[1].promote()
    began = monotonic()
    await asyncio.gather(*map(serve, managers))
    served = monotonic()
    while len(moved) < len(managers):  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    return {"moved_s": max(moved) - began, "served_s": served - began}


def show_many(console: Console, found: dict[str, dict[str, Any]]) -> None:
    title = f"many: {MANY} managers of a primary and a standby, no callers; then a failover"
    table = Table(title=title, title_justify="left")
    table.add_column("probes")
    for column in ("% of a core", "wanted", "probe sessions", "all moved s", "all served s"):
        table.add_column(column, justify="right")
    for name, figures in found.items():
        table.add_row(
            name,
            f"{figures['core_percent']:.2f}",
            _wanted(figures["core_percent"], WANTED_MANY) if name == "shared" else "",
            " + ".join(map(str, figures["probe_sessions"])),
            f"{figures['moved_s']:.2f}",
            f"{figures['served_s']:.2f}",
        )
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
