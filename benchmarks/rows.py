"""The rows of the table of faults: what each does and measures.

Each row runs on freshly reset servers, with a proxy before each and managers that it opens. It
returns named figures: seconds or counts.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, suppress
from time import monotonic
from typing import TYPE_CHECKING, Any

import psycopg
from workload import TABLE, Workload

from pgmoor import ConnectionManager, NoHostAvailable
from pgmoor.events import Failback, Failover

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from pgmoor.events import Event
    from pgmoor.testing import Cluster, FaultProxy

OTHERS = "backend_type = 'client backend' and pid <> pg_backend_pid()"
LIMIT = 40.0  # seconds until "never"
Figures = dict[str, float]


class Stage:
    """Servers, proxies, and the managers that a row opens."""

    def __init__(self, cluster: Cluster, proxies: Sequence[FaultProxy], interval: float) -> None:
        self.cluster = cluster
        self.proxies = proxies
        self.events: list[Event] = []
        self._interval = interval
        self._stack = AsyncExitStack()

    async def close(self) -> None:
        for node in self.cluster:
            await node.thaw()
        await self._stack.aclose()

    async def open(
        self, *indexes: int, user: str = "postgres", **settings: Any
    ) -> ConnectionManager:
        """Open a manager over the proxies of these servers, in this order, or over all."""
        chosen = [self.proxies[index] for index in indexes] or self.proxies
        values = {"min_size": 4, "max_size": 8, "health_interval": self._interval, **settings}
        manager = ConnectionManager(
            f"user={user} dbname=postgres",
            hosts=[f"{proxy.host}:{proxy.port}" for proxy in chosen],
            on_event=self.events.append,
            **values,
        )
        return await self._stack.enter_async_context(manager)

    async def work(self, manager: ConnectionManager, statement: str | None = None) -> Workload:
        """Start sixteen tasks, which insert by default, and wait until all of them work."""

        def operation(default: str) -> Callable[[], Awaitable[object]]:
            async def operate() -> None:
                async with manager.connection() as conn:
                    await conn.execute((statement or default).encode())

            return operate

        workload = Workload(operation)
        workload.start()
        self._stack.push_async_callback(workload.stop)
        if not await workload.flow(10):
            raise RuntimeError("the tasks do not work")
        return workload

    def count(self, kind: type[Event]) -> int:
        return sum(isinstance(event, kind) for event in self.events)


async def _recovered(
    workload: Workload, began: float, counts_from: float, effective: float
) -> Figures:
    """Return the seconds from *counts_from* until all tasks worked, and what failed."""
    instant = await workload.recover(effective, monotonic() + LIMIT)
    if instant is None:
        return {"failed": workload.errors(began).total(), "never": 1}
    return {
        "back": max(instant - counts_from, 0.0),
        "failed": workload.errors(began).total(),
    }


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(LIMIT):
        while not condition():  # noqa: ASYNC110  polling is exact enough
            await asyncio.sleep(0.01)


async def checkout(manager: ConnectionManager, timeout: float = 30) -> float:
    """Return the seconds that one checkout and one statement take."""
    began = monotonic()
    async with manager.connection(timeout) as conn:
        await conn.execute("select 1")
    return monotonic() - began


async def _lost(stage: Stage, fault: Callable[[], Awaitable[Any]]) -> Figures:
    workload = await stage.work(await stage.open())
    began = monotonic()
    await fault()
    effective = monotonic()
    await stage.cluster[1].promote()
    promoted = monotonic()
    found = await _recovered(workload, began, began, effective)
    if "back" in found:
        found["writable"] = max(found["back"] - (promoted - began), 0.0)
    return found


async def crash(stage: Stage) -> Figures:
    """crash, standby promoted"""
    return await _lost(stage, stage.cluster[0].kill)


async def silence(stage: Stage) -> Figures:
    """silence, standby promoted"""

    async def fall_silent() -> None:
        stage.proxies[0].silent()

    return await _lost(stage, fall_silent)


async def freeze(stage: Stage) -> Figures:
    """freeze, standby promoted"""
    return await _lost(stage, stage.cluster[0].freeze)


async def demotion(stage: Stage) -> Figures:
    """demotion"""
    return await _lost(stage, stage.cluster[0].demote)


async def outage(stage: Stage) -> Figures:
    """outage of 20 s"""
    manager = await stage.open(0)
    workload = await stage.work(manager)
    began = monotonic()
    await stage.cluster[0].kill()
    gone = monotonic()
    await asyncio.sleep(20)
    await stage.cluster[0].start()
    back = monotonic()
    found = await _recovered(workload, began, back, back)
    later = workload.errors(gone + 0.5).total()
    return {**found, "failed while waiting": later}


async def outage_too_long(stage: Stage) -> Figures:
    """outage longer than `timeout`"""
    manager = await stage.open(0)
    await checkout(manager)
    await stage.cluster[0].kill()
    limits = [1.0 + number / 4 for number in range(8)]

    async def wait(limit: float) -> float:
        began = monotonic()
        with suppress(NoHostAvailable):
            await checkout(manager, limit)
        return abs(monotonic() - began - limit)

    return {"off its deadline": max(await asyncio.gather(*map(wait, limits)))}


async def _fill(manager: ConnectionManager, count: int) -> None:
    conns = [await manager.getconn() for _ in range(count)]
    for conn in conns:
        await manager.putconn(conn)


async def idle_terminated(stage: Stage) -> Figures:
    """every idle backend terminated"""
    manager = await stage.open(max_size=10)
    await _fill(manager, 10)
    await stage.cluster[0].sql(
        f"select count(pg_terminate_backend(pid, 1000)) from pg_stat_activity where {OTHERS}"
    )
    return {"next checkout": await checkout(manager)}


async def one_terminated(stage: Stage) -> Figures:
    """one backend terminated"""
    manager = await stage.open()
    workload = await stage.work(manager)
    held = await manager.getconn()
    began = monotonic()
    pid = held.info.backend_pid
    await stage.cluster[0].sql(f"select pg_terminate_backend({pid})")
    failed = 0
    try:
        await held.execute("select 1")
    except psycopg.OperationalError:
        failed = 1
    await manager.putconn(held)
    await workload.flow(5)
    return {
        "failed": failed + workload.errors(began).total(),
        "failovers": stage.count(Failover),
    }


async def restarted(stage: Stage) -> Figures:
    """server restarted under ten idle connections"""
    manager = await stage.open(0, max_size=10)
    await _fill(manager, 10)
    await stage.cluster[0].stop()
    await stage.cluster[0].start()
    return {"first checkout": await checkout(manager)}


async def frozen_shortly(stage: Stage) -> Figures:
    """the only server frozen for 5 s"""
    manager = await stage.open(0)
    workload = await stage.work(manager)
    began = monotonic()
    await stage.cluster[0].freeze()
    await asyncio.sleep(5)
    await stage.cluster[0].thaw()
    thawed = monotonic()
    return await _recovered(workload, began, thawed, thawed)


async def frozen_long(stage: Stage) -> Figures:
    """the only server frozen for longer than `stall_timeout`"""
    manager = await stage.open(0)
    workload = await stage.work(manager)
    began = monotonic()
    await stage.cluster[0].freeze()
    await _until(lambda: bool(workload.errors(began)))
    ended = monotonic() - began
    await stage.cluster[0].thaw()
    thawed = monotonic()
    found = await _recovered(workload, began, thawed, thawed)
    return {**found, "cut after": ended}


async def forgotten(stage: Stage) -> Figures:
    """established connections cut without a word, new ones work"""
    manager = await stage.open()
    await _fill(manager, 8)
    await asyncio.sleep(1.1)  # until a checkout pings first
    stage.proxies[0].silent(new=False)
    first = await checkout(manager)
    return {"next checkout": first, "one after": await checkout(manager)}


async def first_silent(stage: Stage) -> Figures:
    """first host silent from the start"""
    stage.proxies[0].blackhole()
    began = monotonic()
    manager = await stage.open(target="any")
    await checkout(manager)
    first = monotonic() - began
    return {"first": first, "later": await checkout(manager)}


async def old_primary(stage: Stage) -> Figures:
    """old primary comes back writable"""
    manager = await stage.open()
    workload = await stage.work(manager)
    await stage.cluster[0].kill()
    await stage.cluster[1].promote()
    await workload.flow(10)
    began = monotonic()
    await stage.cluster[0].start()
    for _ in range(20):
        await manager.drain()
        await asyncio.sleep(0.1)
    query = "select count(*) from written where at > pg_postmaster_start_time()"
    reached = int((await stage.cluster[0].sql(query))[0][0])
    return {"statements that reach it": reached, "failed": workload.errors(began).total()}


async def preferred_back(stage: Stage) -> Figures:
    """preferred host back as an equal"""
    manager = await stage.open(target="any", failback_after=2)
    workload = await stage.work(manager, "select 1")
    stage.proxies[0].refuse()
    stage.proxies[0].reset()
    await _until(lambda: stage.count(Failover) > 0)
    began = monotonic()
    stage.proxies[0].heal()
    await _until(lambda: stage.count(Failback) > 0)
    after = monotonic() - began
    await workload.flow(5)
    return {"failed": workload.errors(began).total(), "back after": after}


async def flapping(stage: Stage) -> Figures:
    """host flapping every second, for 10 s"""
    manager = await stage.open(target="any")
    workload = await stage.work(manager, "select 1")
    began = monotonic()
    for _ in range(5):
        stage.proxies[0].refuse()
        stage.proxies[0].reset()
        await asyncio.sleep(1)
        stage.proxies[0].heal()
        await asyncio.sleep(1)
    return {"failovers": stage.count(Failover), "failed": workload.errors(began).total()}


async def all_standby(stage: Stage) -> Figures:
    """all hosts standby; then one promoted"""
    await stage.cluster[0].kill()
    manager = await stage.open()
    task = asyncio.create_task(checkout(manager))
    await asyncio.sleep(2)
    await stage.cluster[1].promote()
    promoted = monotonic()
    await task
    return {"back": monotonic() - promoted}


async def saturated(stage: Stage) -> Figures:
    """`max_connections` reached on the server"""
    manager = await stage.open(0, user="guest", min_size=1)
    await checkout(manager)
    others: list[psycopg.AsyncConnection[Any]] = []
    with suppress(psycopg.OperationalError):
        while True:
            conn = await psycopg.AsyncConnection.connect(
                stage.cluster[0].conninfo(user="guest", dbname="postgres")
            )
            others.append(conn)
    held = [await manager.getconn() for _ in range(manager.get_stats()["pool_size"])]
    tasks = [asyncio.create_task(checkout(manager)) for _ in range(4)]
    await asyncio.sleep(1)
    waiting = sum(not task.done() for task in tasks)
    began = monotonic()
    for conn in others:
        await conn.close()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    back = monotonic() - began
    alive = [await (await conn.execute("select 1")).fetchone() for conn in held]
    for conn in held:
        await manager.putconn(conn)
    failed = sum(isinstance(result, BaseException) for result in results)
    if not waiting or set(alive) != {(1,)}:
        raise RuntimeError(f"{waiting} waited for {len(others)} others; held: {alive}; {results}")
    return {"back": back, "failed": failed}


async def starting(stage: Stage) -> Figures:
    """server starting or recovering (57P03)"""
    manager = await stage.open(0)
    await checkout(manager)
    await stage.cluster[0].kill()
    waiter = asyncio.create_task(checkout(manager))
    await stage.cluster[0].start()
    started = monotonic()
    await waiter
    return {"back": monotonic() - started}


async def slow_query(stage: Stage) -> Figures:
    """`asyncio.timeout` around a slow query, healthy server"""
    manager = await stage.open(0, min_size=1, max_size=1)
    began = monotonic()
    async with manager.connection() as conn:
        pid = conn.info.backend_pid
        with suppress(TimeoutError):
            async with asyncio.timeout(0.5):
                await conn.execute("select pg_sleep(60)")
        late = monotonic() - began - 0.5
        await conn.rollback()
    async with manager.connection() as conn:
        kept = conn.info.backend_pid == pid
    return {"late": late, "connections lost": 0 if kept else 1}


async def slow_query_silent(stage: Stage) -> Figures:
    """the same on a silent server"""
    manager = await stage.open(0, min_size=1, max_size=1)
    conn = await manager.getconn()
    stage.proxies[0].silent()
    began = monotonic()
    with suppress(TimeoutError, psycopg.OperationalError):
        async with asyncio.timeout(0.5):
            await conn.execute("select 1")
    late = monotonic() - began - 0.5
    await manager.putconn(conn)
    return {"late": late}


async def close_frozen(stage: Stage) -> Figures:
    """`close()` with every peer frozen, above `close_timeout`"""
    manager = await stage.open()
    await _fill(manager, 4)
    conn = await manager.getconn()
    query = asyncio.create_task(conn.execute("select pg_sleep(60)"))
    await asyncio.sleep(0.1)
    for node in stage.cluster:
        await node.freeze()
    began = monotonic()
    await manager.close(timeout=1)
    took = monotonic() - began - 1
    await asyncio.wait([query], timeout=1)
    return {"late": max(took, 0.0), "hanging": 0 if query.done() else 1}


ROWS: dict[str, Callable[[Stage], Awaitable[Figures]]] = {
    row.__name__: row
    for row in (
        crash,
        silence,
        freeze,
        demotion,
        outage,
        outage_too_long,
        idle_terminated,
        one_terminated,
        restarted,
        frozen_shortly,
        frozen_long,
        forgotten,
        first_silent,
        old_primary,
        preferred_back,
        flapping,
        all_standby,
        saturated,
        starting,
        slow_query,
        slow_query_silent,
        close_frozen,
    )
}


async def prepare(cluster: Cluster) -> None:
    """Reset the servers, and create the table that the application writes."""
    await cluster.reset()
    await cluster[0].sql(TABLE)
    await cluster[0].sql("create role guest login")
    for node in cluster.nodes[1:]:
        await node.wait_for("select to_regclass('written') is not null")
