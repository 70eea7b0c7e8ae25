"""Misuse by a program: nothing hangs or leaks, and no other task is harmed."""

from __future__ import annotations

import asyncio
from time import monotonic, process_time
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from pgmoor import ConnectionManager
from pgmoor.events import HostDown
from support import recorder, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgmoor.testing import Cluster


async def test_the_end_of_a_block_that_gave_its_connection_back_leaves_the_next_holder_alone(
    alone: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(*alone, min_size=1, max_size=1)
    async with manager.connection() as conn:
        await manager.putconn(conn)
        other = await manager.getconn()
        assert other is conn
        await other.execute("insert into work (id) values ('other')")
    assert other.info.transaction_status.name == "INTRANS"  # neither committed nor given back
    await manager.putconn(other)

    assert await alone[0].sql("select id from work") == []
    assert manager.get_stats()["pool_available"] == 1


async def test_a_connection_can_t_be_given_back_again_while_it_is_rolled_back(
    alone: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(*alone, min_size=1, max_size=1)
    conn = await manager.getconn()
    await conn.execute("insert into work (id) values ('x')")
    first = asyncio.create_task(manager.putconn(conn))
    await asyncio.sleep(0)
    with pytest.raises(ValueError, match="was returned to "):
        await manager.putconn(conn)
    await first

    async with manager.connection(timeout=1) as again:
        assert again is conn


async def test_a_query_that_still_runs_when_its_connection_comes_back_is_cut(
    alone: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(*alone, min_size=1, max_size=1)
    conn = await manager.getconn()
    query = asyncio.create_task(conn.execute("select pg_sleep(30)"))
    await alone[0].wait_for(
        "select exists (select from pg_stat_activity where query ~ 'sleep\\(30')"
    )
    began = monotonic()
    await manager.putconn(conn)
    with pytest.raises(psycopg.OperationalError, match="returned while a query was running"):
        await query

    assert monotonic() - began < 1.0
    async with manager.connection(timeout=5) as other:
        assert other is not conn


async def test_a_close_whose_caller_is_cancelled_goes_on(alone: Cluster) -> None:
    manager = ConnectionManager(alone.conninfo(application_name="closing"), min_size=2)
    await manager.open(wait=True)
    closing = asyncio.create_task(manager.close())
    await asyncio.sleep(0)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    await manager.close()

    await alone[0].wait_for(
        "select not exists (select from pg_stat_activity where application_name = 'closing')"
    )
    assert not [task for task in asyncio.all_tasks() if manager.name in task.get_name()]


async def test_close_does_not_wait_for_a_reset_that_hangs(alone: Cluster) -> None:
    async def reset(_: object) -> None:
        await asyncio.Event().wait()

    manager = ConnectionManager(alone.conninfo(), min_size=1, reset=reset, cancel_timeout=0.2)
    await manager.open(wait=True)
    began = monotonic()
    conn = await manager.getconn()
    await manager.putconn(conn)
    await manager.close(timeout=0.5)

    assert monotonic() - began < 2.5
    assert conn.closed


async def test_a_connection_class_that_raises_anything_is_called_again_with_our_backoff(
    alone: Cluster, moor: Callable[..., Any]
) -> None:
    failures = 3

    class Picky(psycopg.AsyncConnection[Any]):
        @classmethod
        async def connect(cls, *args: Any, **kwargs: Any) -> Any:
            nonlocal failures
            if failures:
                failures -= 1
                raise ValueError("no token")
            return await super().connect(*args, **kwargs)

    manager = await moor(*alone, connection_class=Picky, min_size=1)
    began = monotonic()
    async with manager.connection(timeout=10):
        pass

    assert monotonic() - began < 3.0  # psycopg_pool alone would take 1 + 2 + 4 s


async def test_ten_thousand_waiters_can_be_cancelled_at_once(
    alone: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(*alone, min_size=1, max_size=1, max_waiting=20_000)
    conn = await manager.getconn()
    waiters = [asyncio.create_task(manager.getconn()) for _ in range(10_000)]
    await until(lambda: manager.get_stats()["requests_waiting"] == 10_000)
    began = process_time()
    for waiter in reversed(waiters):
        waiter.cancel()
    await asyncio.wait(waiters)

    assert process_time() - began < 1.5  # quadratic work would take several seconds
    await manager.putconn(conn)
    assert not recorder(manager).of(HostDown)
