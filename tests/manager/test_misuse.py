"""Programs that do what they should not: nothing hangs, leaks or harms another task."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from pgmoor import ConnectionManager, NoHostAvailable, PoolExhausted
from pgmoor.events import HostDown
from support import hold, recorder, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgmoor.testing import Cluster


async def test_a_block_that_gave_its_connection_back_does_not_end_the_next_ones_hold(
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


async def test_a_connection_is_given_back_once_even_while_it_is_rolled_back(
    alone: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(*alone, min_size=1, max_size=1)
    conn = await manager.getconn()
    await conn.execute("insert into work (id) values ('x')")
    first = asyncio.create_task(manager.putconn(conn))
    await asyncio.sleep(0)
    with pytest.raises(ValueError, match="given back already"):
        await manager.putconn(conn)
    await first

    async with manager.connection(timeout=1) as again:
        assert again is conn


async def test_a_query_that_still_runs_when_its_connection_comes_back_is_ended(
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
    with pytest.raises(psycopg.OperationalError, match="given back while a query was running"):
        await query

    assert monotonic() - began < 1.0
    async with manager.connection(timeout=5) as other:
        assert other is not conn


async def test_a_close_that_is_cancelled_goes_on(alone: Cluster) -> None:
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


async def test_a_connection_class_that_raises_anything_is_tried_again_by_our_rules(
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


async def test_no_time_at_all_is_enough_for_an_idle_connection_and_else_an_error_of_ours(
    alone: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(*alone, min_size=1, max_size=1)
    (conn,) = await hold(manager, 1)
    with pytest.raises(PoolExhausted):
        await manager.getconn(timeout=0)
    with pytest.raises(PoolExhausted):
        await manager.getconn(timeout=-1)
    await manager.putconn(conn)
    await until(lambda: manager._runtime.queue.pool.idle == 1)

    async with manager.connection(timeout=0) as again:
        assert again is conn


async def test_a_wrong_password_is_not_hammered_and_named_without_being_shown(
    moor: Callable[..., Any],
) -> None:
    from pgmoor.testing import Cluster

    async with Cluster(standbys=0, auth="scram-sha-256") as locked:
        await locked[0].sql("create role app login password 'right'")
        manager = ConnectionManager(
            f"host={locked[0].host} port={locked[0].port} user=app dbname=postgres",
            kwargs={"password": "c4n4ry"},
        )
        async with manager:
            with pytest.raises(NoHostAvailable, match="password authentication failed") as caught:
                await manager.getconn(timeout=1.5)
        assert "c4n4ry" not in str(caught.value)
        attempts = locked[0].log_file.read_text().count('authentication failed for user "app"')

    assert 1 <= attempts <= 2, attempts


async def test_thousands_of_waiters_can_leave_at_once(
    alone: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(*alone, min_size=1, max_size=1, max_waiting=20_000)
    conn = await manager.getconn()
    waiters = [asyncio.create_task(manager.getconn()) for _ in range(10_000)]
    await until(lambda: manager.get_stats()["requests_waiting"] == 10_000)
    began = monotonic()
    for waiter in reversed(waiters):
        waiter.cancel()
    await asyncio.wait(waiters)

    assert monotonic() - began < 1.5  # quadratic work would take several seconds
    await manager.putconn(conn)
    assert not recorder(manager).of(HostDown)
