"""Dials that nobody wants any more end, whatever ordered them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from pgmoor import PoolExhausted
from pgmoor.events import DialFailed
from support import Dials, hold, recorder, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from pgmoor.testing import Cluster


@pytest.fixture
async def limited(alone: Cluster) -> AsyncIterator[Callable[[int], Any]]:
    """Set how many sessions the role `limited` may have."""
    node = alone[0]
    await node.sql("drop role if exists limited")
    await node.sql("create role limited login")

    async def allow(count: int) -> None:
        await node.sql(f"alter role limited connection limit {count}")

    yield allow
    await node.sql("alter role limited connection limit -1")


def sessions() -> str:
    return "(select count(*) from pg_stat_activity where usename = 'limited')"


def dialling(manager: Any) -> int:
    count: int = manager._runtime.queue.pool.filler.dialling
    return count


async def test_after_a_resize_down_dials_for_the_former_minimum_end(
    alone: Cluster, moor: Callable[..., Any], limited: Callable[[int], Any]
) -> None:
    await limited(4)
    quick = {"backoff_base": 0.01, "backoff_cap": 0.05}
    manager = await moor(*alone, min_size=8, max_size=8, kwargs={"user": "limited"}, **quick)
    await recorder(manager).wait_for(DialFailed)
    waiting = asyncio.create_task(manager.wait(timeout=10))
    await asyncio.sleep(0)

    await manager.resize(1, 2)
    await asyncio.wait_for(waiting, 1)  # it is full now
    await until(lambda: dialling(manager) == 0)
    await limited(-1)
    conns = await hold(manager, 2)
    with pytest.raises(PoolExhausted):
        await manager.getconn(timeout=0.3)

    await alone[0].wait_for(f"select {sessions()} = 3")  # one is the probe's
    for conn in conns:
        await manager.putconn(conn)


async def test_after_a_burst_on_a_full_server_nobody_goes_on_dialling(
    alone: Cluster, moor: Callable[..., Any], limited: Callable[[int], Any]
) -> None:
    await limited(2)
    quick = {"backoff_base": 0.01, "backoff_cap": 0.05}
    manager = await moor(*alone, min_size=1, max_size=8, kwargs={"user": "limited"}, **quick)
    await manager.wait()

    async def caller() -> None:
        async with manager.connection(timeout=5) as conn:
            await conn.execute("select pg_sleep(0.05)")

    await asyncio.gather(*(caller() for _ in range(8)))
    await recorder(manager).wait_for(DialFailed)
    await until(lambda: dialling(manager) == 0, timeout=2)
    dials = Dials()
    manager.instrument(dials)
    for _ in range(5):
        await caller()

    assert dials.count == 0


async def test_a_connection_that_its_program_closed_after_its_return_is_replaced(
    alone: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(*alone, min_size=2, max_size=2)
    conns = await hold(manager, 2)
    for conn in conns:
        await manager.putconn(conn)
    await conns[0].close()
    pool = manager._runtime.queue.pool

    await until(lambda: len(pool.ready) == 2)
    assert conns[0] not in pool.connections
    await until(lambda: pool.inner.size == 2)


async def test_an_idle_connection_that_the_server_ends_is_replaced_before_anyone_asks(
    alone: Cluster, moor: Callable[..., Any]
) -> None:
    """As after `idle_session_timeout`: it must not be counted as idle until it is asked for."""
    manager = await moor(
        *alone, min_size=1, max_size=1, health_interval=0.1, keepalive_interval=3600.0
    )
    (conn,) = await hold(manager, 1)
    await conn.execute("set idle_session_timeout = '50ms'")
    await conn.commit()
    await manager.putconn(conn)

    await until(lambda: conn.closed)
    await until(lambda: manager.get_stats()["pool_available"] == 1)
    assert manager.get_stats()["connections_lost"] == 1
