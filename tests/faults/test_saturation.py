"""All connection slots of the server are taken (53300), by us or by other programs."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
import pytest_asyncio
from psycopg_pool import PoolTimeout

from pgmoor.events import Connected, DialFailed, Failover, HostDown, OutageStarted
from pgmoor.testing import Cluster
from support import Workload, pool_pids, recorder, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

SLOTS = 8  # for roles other than the superuser, who has three more


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def _small() -> AsyncIterator[Cluster]:
    settings = {"max_connections": str(SLOTS + 3), "superuser_reserved_connections": "3"}
    async with Cluster(standbys=1, settings=settings) as cluster:
        await cluster[0].sql("create role app login")
        await cluster[0].sql("create table work (id text, node int default 0)")
        await cluster[0].sql("grant all on work to app")
        yield cluster


@pytest.fixture
async def small(_small: Cluster) -> Cluster:
    """A primary and a standby with few connection slots, all of them free."""
    await _small[0].wait_for("select count(*) = 0 from pg_stat_activity where usename = 'app'")
    return _small


class Others:
    """Other programs, which take free slots and keep them."""

    def __init__(self, cluster: Cluster) -> None:
        self._conninfo = cluster[0].conninfo(user="app")
        self._conns: list[psycopg.AsyncConnection[Any]] = []

    async def take(self, count: int) -> None:
        for _ in range(count):
            self._conns.append(await psycopg.AsyncConnection.connect(self._conninfo))
        with pytest.raises(psycopg.OperationalError, match="connection slots are reserved"):
            await psycopg.AsyncConnection.connect(self._conninfo)

    async def leave(self) -> None:
        for conn in self._conns:
            await conn.close()


@pytest.fixture
async def others(small: Cluster) -> AsyncIterator[Others]:
    found = Others(small)
    yield found
    await found.leave()


async def test_callers_wait_while_all_slots_are_taken_from_the_start(
    small: Cluster, others: Others, moor: Callable[..., Any]
) -> None:
    await others.take(SLOTS)
    manager = await moor(small[0], min_size=2, max_size=4, kwargs={"user": "app"})

    async def work() -> float:
        async with manager.connection(timeout=10) as conn:
            await conn.execute("insert into work (id) values ('x')")
        return monotonic()

    callers = [asyncio.create_task(work()) for _ in range(6)]
    _, waiting = await asyncio.wait(callers, timeout=0.5)
    assert len(waiting) == len(callers)
    began = monotonic()
    await others.leave()
    back = max(await asyncio.gather(*callers)) - began

    assert back < 2.0, back  # after slots free; hosts are probed once a second at least
    assert len(recorder(manager).of(Connected)) == 1
    assert not recorder(manager).of(HostDown)


async def test_a_pool_that_cannot_grow_keeps_serving_and_grows_when_slots_free(
    small: Cluster, others: Others, moor: Callable[..., Any]
) -> None:
    manager = await moor(*small, target="any", min_size=2, max_size=5, kwargs={"user": "app"})
    await manager.wait()
    pids = pool_pids(manager)
    await others.take(SLOTS - 3)  # two are the pool's, one is the probe's
    async with Workload(manager) as work:
        event = await recorder(manager).wait_for(DialFailed)
        assert event.kind == "saturated"
        await work.flowing(monotonic())
        assert pool_pids(manager) == pids

        await others.leave()
        await until(lambda: len(pool_pids(manager)) == 5)
        await work.flowing(monotonic())

    assert not work.failed, work.errors()
    assert pids <= pool_pids(manager)
    _nothing_happened_to_the_host(manager)


async def test_a_full_server_is_not_left_for_one_with_room(
    small: Cluster, others: Others, moor: Callable[..., Any]
) -> None:
    manager = await moor(*small, target="any", min_size=0, max_size=4, kwargs={"user": "app"})
    await manager.wait_ready()
    await others.take(SLOTS - 1)  # one is the probe's
    with pytest.raises(PoolTimeout):
        await manager.getconn(timeout=0.3)
    callers = [asyncio.create_task(manager.getconn(timeout=10)) for _ in range(2)]
    await recorder(manager).wait_for(DialFailed)
    await manager.health(fresh=True)
    began = monotonic()
    await others.leave()
    conns = await asyncio.gather(*callers)
    back = monotonic() - began

    assert back < 2.0, back
    assert {conn.info.port for conn in conns} == {small[0].port}
    _nothing_happened_to_the_host(manager)
    for conn in conns:
        await manager.putconn(conn)


def _nothing_happened_to_the_host(manager: Any) -> None:
    for kind in (Failover, HostDown, OutageStarted):
        assert not recorder(manager).of(kind)
