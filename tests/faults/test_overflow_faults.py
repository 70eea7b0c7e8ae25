"""Faults while connections beyond `max_size` are in use or being made."""

from __future__ import annotations

import asyncio
import contextlib
import random
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from pgmoor import PoolExhausted
from pgmoor.events import DialFailed, Failover, HostDown
from servers import Watched
from support import Dials, both_loops, hold, recorder, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgmoor.testing import Cluster


def pool_of(manager: Any) -> Any:
    return manager._runtime.queue.pool


def counters(pool: Any) -> tuple[int, int, int]:
    beyond = pool.size + pool.filler.dialling - pool.ledger.sizes.kept
    return pool.ledger.held, max(beyond, 0), pool.filler.dialling


async def give_all(manager: Any, conns: list[Any]) -> None:
    for conn in conns:
        await manager.putconn(conn)


@both_loops
async def test_cancellation_while_an_overflow_connection_is_made_leaks_nothing(
    alone: Cluster, moor: Callable[..., Any]
) -> None:
    watched = Watched(alone)

    async def slowly(conn: Any) -> None:
        await watched.mark(conn)
        await asyncio.sleep(0.01)

    manager = await moor(*alone, min_size=0, max_size=1, max_overflow=3, configure=slowly)
    rng = random.Random(5)

    async def caller() -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(rng.random() * 0.04), manager.connection() as conn:
                await conn.execute("select pg_sleep(0.002)")

    for _ in range(30):
        await asyncio.gather(*(caller() for _ in range(8)))
    pool = pool_of(manager)
    await until(lambda: counters(pool) == (0, 0, 0))

    assert len(pool.connections) <= 1
    await watched.has(len(pool.connections))
    conns = await hold(manager, 4)
    assert len(await watched.pids()) == 4
    await give_all(manager, conns)


async def test_failing_overflow_dials_fail_no_caller_back_off_and_end_when_nobody_waits(
    alone: Cluster, moor: Callable[..., Any]
) -> None:
    await alone[0].sql("drop role if exists limited")
    await alone[0].sql("create role limited login connection limit 3")  # one is the probe's
    user = {"user": "limited"}
    manager = await moor(*alone, min_size=2, max_size=2, max_overflow=4, kwargs=user)
    await manager.wait()
    dials = Dials()
    manager.instrument(dials)
    loop = asyncio.get_running_loop()
    end = loop.time() + 1.0

    async def caller() -> None:
        while loop.time() < end:
            async with manager.connection(timeout=2) as conn:
                await conn.execute("select pg_sleep(0.005)")
            await asyncio.sleep(0.001)

    await asyncio.gather(*(caller() for _ in range(6)))  # no caller gets an error
    event = await recorder(manager).wait_for(DialFailed)
    pool = pool_of(manager)
    await until(lambda: counters(pool) == (0, 0, 0), timeout=5)

    assert "too many connections for role" in event.reason
    assert dials.count < 60, dials.count  # three at a time, from 0.05 s to 1 s apart
    assert not recorder(manager).of(HostDown)
    before = dials.count
    async with manager.connection():
        pass
    assert dials.count == before
    # A caller who gets none learns that the pool is exhausted; once there is room, it is served.
    conns = await hold(manager, 2)
    with pytest.raises(PoolExhausted, match=r"size 2 of 2\+4, used 2"):
        await manager.getconn(timeout=0.2)
    waiter = asyncio.create_task(manager.getconn(timeout=5))
    await alone[0].sql("alter role limited connection limit -1")
    conns.append(await waiter)
    await give_all(manager, conns)
    await until(lambda: counters(pool) == (0, 0, 0), timeout=5)


async def test_a_failover_replaces_overflow_connections_and_serves_the_waiters(
    pair: Cluster, moor: Callable[..., Any], proxies: Callable[..., Any]
) -> None:
    manager = await moor(*proxies(pair), min_size=1, max_size=2, max_overflow=2)
    conns = await hold(manager, 4)
    waiters = [asyncio.create_task(manager.getconn(timeout=10)) for _ in range(4)]
    await until(lambda: manager.get_stats()["requests_waiting"] == 4)
    old = pool_of(manager)
    await pair[0].kill()
    await pair[1].promote()
    await recorder(manager).wait_for(Failover)
    served = await asyncio.gather(*waiters)

    for conn in conns:
        with pytest.raises(psycopg.OperationalError):
            await conn.execute("select 1")
    await give_all(manager, conns)
    await until(lambda: (old.size, old.filler.dialling) == (0, 0))
    assert not any(conn.closed for conn in served)
    await give_all(manager, served)
    await until(lambda: counters(pool_of(manager)) == (0, 0, 0))
    await until(lambda: manager.get_stats()["pool_size"] == 2)


@pytest.mark.parametrize("how", ["refuses", "silent"])
async def test_overflow_dials_to_a_dead_server_succeed_once_it_is_back(
    how: str, alone: Cluster, moor: Callable[..., Any], proxies: Callable[..., Any]
) -> None:
    (door,) = proxies(alone)
    hasty = {"stall_timeout": 0.5, "health_interval": 0.1, "health_timeout": 0.2}
    manager = await moor(door, min_size=1, max_size=1, max_overflow=3, **hasty)
    (held,) = await hold(manager, 1)
    if how == "refuses":
        door.refuse()
        door.reset()
    else:
        door.silent()
    waiters = [asyncio.create_task(manager.getconn(timeout=15)) for _ in range(4)]
    with pytest.raises(psycopg.OperationalError):
        await held.execute("select 1")
    await manager.putconn(held)
    await until(lambda: not manager.snapshot().ready)
    door.heal()
    conns = await asyncio.gather(*waiters)

    assert len(pool_of(manager).connections) == 4
    await give_all(manager, conns)
    await until(lambda: counters(pool_of(manager)) == (0, 0, 0))


async def test_close_ends_overflow_connections_in_use_and_being_made(
    alone: Cluster, moor: Callable[..., Any]
) -> None:
    watched = Watched(alone)
    making = asyncio.Event()

    async def configure(conn: Any) -> None:
        await watched.mark(conn)
        if len(await watched.pids()) > 3:
            making.set()
            await asyncio.Event().wait()

    manager = await moor(*alone, min_size=1, max_size=1, max_overflow=3, configure=configure)
    conns = await hold(manager, 3)
    task = asyncio.create_task(manager.getconn())
    await making.wait()
    pool = pool_of(manager)
    await manager.close(timeout=0.5)

    with pytest.raises(psycopg.OperationalError, match=r"is closed|was closed"):
        await task
    await watched.has(0)
    for conn in conns:
        with pytest.raises(psycopg.OperationalError):
            await conn.execute("select 1")
        await manager.putconn(conn)
    assert counters(pool) == (0, 0, 0)
    assert not [task for task in asyncio.all_tasks() if task.get_name().endswith("-dial")]
