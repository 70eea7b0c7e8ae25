"""What the probes of one manager, and of a hundred in one process, cost their servers.

For each state of a host: how often the managers probe it, how many questions reach it and how many
connections are made to it a second, how many sessions it has at most, and the processor time of the
process, with the proxy in it. The managers have pools of 1 to 2 connections. `--also SETTING=VALUE`
measures everything again with a setting of the managers.

    python benchmarks/probes.py [--managers 1,100] [--seconds 10] [--states rest,down]
        [--also SETTING=VALUE ...] [--json FILE]

The states of PgBouncer are left out where it is not installed.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import logging
import shutil
import signal
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter, process_time
from typing import TYPE_CHECKING, Any, Self

import psycopg
from rich.console import Console
from rich.table import Table

from pgmoor import ConnectionManager, instruments
from pgmoor.testing import Cluster, FaultProxy

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from services.pgbouncer import PgBouncer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from pgmoor.testing import Node

SETTINGS = {"min_size": 1, "max_size": 2, "close_timeout": 1.0}
SLOTS = 300  # of the server: enough for a probe and a pool of each manager
STARVED = 0.2  # connections to the server for each manager, in a PgBouncer that has too few
CALLER_TIMEOUT = 0.5  # seconds; each time that it is over, the manager doubts the host
OURS = "application_name = 'probes' and backend_type = 'client backend'"
BOUNCER = shutil.which("pgbouncer", path="/usr/sbin:/usr/bin:/usr/local/bin")


@dataclass
class Counts(instruments.Instrument):
    """What all managers did."""

    probes: int = 0
    dials: int = 0

    def probed(self, *_: object) -> None:
        self.probes += 1


@dataclass(frozen=True)
class Figures:
    """What was measured; rates are per second."""

    state: str
    managers: int
    settings: str
    probes: float
    questions: float
    dials: float
    sessions: int
    core_percent: float


class Stage:
    """One server behind a proxy, and the managers that use it."""

    def __init__(self, node: Node, count: int, settings: dict[str, Any]) -> None:
        self.node = node
        self.count = count
        self.counts = Counts()
        self.managers: list[ConnectionManager[Any]] = []
        self._settings = settings
        self._stack = contextlib.AsyncExitStack()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def open(self, host: str, port: int, **settings: Any) -> FaultProxy:
        """Open the managers over a proxy before an address; return it."""
        proxy = self._stack.enter_context(FaultProxy(host, port))
        counts = self.counts

        class Counted(psycopg.AsyncConnection[Any]):
            @classmethod
            async def connect(cls, *args: Any, **kwargs: Any) -> Any:
                counts.dials += 1
                return await super().connect(*args, **kwargs)

        for _ in range(self.count):
            manager = ConnectionManager(
                "user=app dbname=postgres application_name=probes",
                hosts=[f"{proxy.host}:{proxy.port}"],
                connection_class=Counted,
                **{**SETTINGS, **settings, **self._settings},
            )
            manager.instrument(counts)
            self._stack.push_async_callback(manager.close)
            await manager.open()
            self.managers.append(manager)
        return proxy

    async def wait(self) -> None:
        """Wait until every manager has a connection."""
        for manager in self.managers:
            await manager.wait()

    def call(self, tasks: int) -> None:
        """Have some callers of each manager borrow a connection for a moment, again and again.

        They send nothing, so that all questions are the managers' own.
        """

        async def caller(manager: ConnectionManager) -> None:
            while True:
                with contextlib.suppress(psycopg.OperationalError):
                    async with manager.connection(CALLER_TIMEOUT):
                        await asyncio.sleep(0.2)
                await asyncio.sleep(0.05)

        work = [asyncio.create_task(caller(m)) for m in self.managers for _ in range(tasks)]

        async def end() -> None:
            for task in work:
                task.cancel()
            await asyncio.wait(work)

        self._stack.push_async_callback(end)

    def bouncer(self, mode: str, **settings: str) -> PgBouncer:
        """Start a PgBouncer before the server."""
        assert BOUNCER is not None
        return self._stack.enter_context(PgBouncer(BOUNCER, self.node, mode, settings))

    def then(self, work: Callable[[], Awaitable[Any]]) -> None:
        """Undo something at the end."""
        self._stack.push_async_callback(work)


async def rest(stage: Stage) -> FaultProxy:
    """at rest"""
    proxy = await stage.open(stage.node.host, stage.node.port)
    await stage.wait()
    return proxy


async def down(stage: Stage) -> FaultProxy:
    """outage: the host refuses"""
    proxy = await rest(stage)
    stage.call(1)
    proxy.refuse()
    proxy.reset()
    return proxy


async def silent(stage: Stage) -> FaultProxy:
    """outage: the host is silent"""
    proxy = await stage.open(stage.node.host, stage.node.port, stall_timeout=2.0)
    await stage.wait()
    stage.call(1)
    proxy.silent()
    return proxy


async def full(stage: Stage) -> FaultProxy:
    """no slot is left, callers wait"""
    proxy = await rest(stage)
    taken: list[psycopg.AsyncConnection[Any]] = []
    with contextlib.suppress(psycopg.OperationalError):
        while True:
            conninfo = stage.node.conninfo(user="hog")
            taken.append(await psycopg.AsyncConnection.connect(conninfo))

    async def free() -> None:
        for conn in taken:
            await conn.close()

    stage.then(free)
    stage.call(3)
    return proxy


async def starved(stage: Stage) -> FaultProxy:
    """PgBouncer (session) without enough connections"""
    size = max(1, int(stage.count * STARVED))
    front = stage.bouncer("session", default_pool_size=str(size), max_client_conn="2000")
    proxy = await stage.open(front.host, front.port)
    stage.call(2)
    return proxy


async def paused(stage: Stage) -> FaultProxy:
    """PgBouncer (transaction), paused"""
    settings = {"max_client_conn": "2000", "admin_users": "admin"}
    front = stage.bouncer("transaction", default_pool_size="20", **settings)
    proxy = await stage.open(front.host, front.port, stall_timeout=2.0)
    await stage.wait()
    stage.call(1)
    console = f"host={front.host} port={front.port} user=admin dbname=pgbouncer"
    admin = await psycopg.AsyncConnection.connect(console, autocommit=True)
    stage.then(admin.close)
    await admin.execute("pause")
    return proxy


POOLERS = ("starved", "paused")
STATES = {state.__name__: state for state in (rest, down, silent, full, starved, paused)}


async def measure(
    name: str, node: Node, count: int, settings: dict[str, Any], seconds: float
) -> Figures:
    """Bring a state about, let it settle, and measure it."""
    async with Stage(node, count, settings) as stage:
        proxy = await STATES[name](stage)
        await asyncio.sleep(5)
        counts = stage.counts

        def read() -> tuple[float, ...]:
            return counts.probes, proxy.round_trips, counts.dials, process_time(), perf_counter()

        before, sessions = read(), 0
        while perf_counter() < before[-1] + seconds:
            with contextlib.suppress(psycopg.OperationalError):  # dials fill even reserved slots
                ((found,),) = await node.sql(f"select count(*) from pg_stat_activity where {OURS}")
                sessions = max(sessions, found)
            await asyncio.sleep(0.5)
        probes, questions, dials, busy, took = (
            now - then for now, then in zip(read(), before, strict=True)
        )
    described = ", ".join(f"{key}={value}" for key, value in settings.items()) or "defaults"
    rates = (probes / took, questions / took, dials / took)
    return Figures(name, count, described, *rates, sessions, busy / took * 100)


def show(console: Console, rows: list[Figures]) -> None:
    table = Table(title="a second, for all managers together", title_justify="left")
    for column in ("state", "settings"):
        table.add_column(column)
    for column in ("managers", "probes", "questions", "dials", "sessions", "% of a core"):
        table.add_column(column, justify="right")
    for row in rows:
        rates = [f"{value:.1f}" for value in (row.probes, row.questions, row.dials)]
        title = (STATES[row.state].__doc__ or row.state).strip()
        last = (str(row.sessions), f"{row.core_percent:.1f}")
        table.add_row(title, row.settings, str(row.managers), *rates, *last)
    console.print(table)


async def run(args: argparse.Namespace, console: Console) -> list[Figures]:
    rows: list[Figures] = []
    names = [
        name for name in args.states.split(",") if BOUNCER or name not in ("starved", "paused")
    ]
    variants = [{}, *(dict([setting(text)]) for text in args.also)]
    async with Cluster(standbys=0, settings={"max_connections": str(SLOTS)}) as cluster:
        for role in ("app", "hog"):
            await cluster[0].sql(f"create role {role} login")
        for name in names:
            for count in map(int, args.managers.split(",")):
                for settings in variants:
                    rows.append(await measure(name, cluster[0], count, settings, args.seconds))
                    console.print(rows[-1])
    return rows


def setting(text: str) -> tuple[str, Any]:
    """Return a setting's name and its value: JSON, or text."""
    name, _, value = text.partition("=")
    with contextlib.suppress(json.JSONDecodeError):
        return name, json.loads(value)
    return name, value


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--managers", default="1,100")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--states", default=",".join(STATES))
    parser.add_argument("--also", action="append", default=[], metavar="SETTING=VALUE")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # the servers end, too
    logging.disable()
    console = Console(width=140)
    rows = asyncio.run(run(args, console))
    show(console, rows)
    if args.json:
        args.json.write_text(json.dumps([asdict(row) for row in rows], indent=1))


if __name__ == "__main__":
    main()
