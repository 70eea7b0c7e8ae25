"""A session that is lost without an error for its holder: the block around it does not end well."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, aclosing, suppress
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from cancelling import (
    MANY,
    after_a_swallowed_cancellation,
    limited_by_asyncio,
)
from support import until

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from pgmoor.testing import Cluster, FaultProxy

ACTIVE = psycopg.pq.TransactionStatus.ACTIVE


async def closing_a_cursor(conn: psycopg.AsyncConnection[Any], door: FaultProxy) -> None:
    cursor = conn.cursor("rows")
    await cursor.execute("select generate_series(1, 1000)")
    door.silent()
    await cursor.close()


async def leaving_a_stream(conn: psycopg.AsyncConnection[Any], door: FaultProxy) -> None:
    async with conn.cursor() as cursor:
        stream: Any = cursor.stream(MANY)
        async with aclosing(stream) as rows:
            await anext(rows)
            door.silent()


async def a_query_under_a_timeout(conn: psycopg.AsyncConnection[Any], door: FaultProxy) -> None:
    door.silent()
    with suppress(TimeoutError):
        await limited_by_asyncio(0.1, conn.execute("select 1"))


async def a_savepoint_under_a_timeout(conn: psycopg.AsyncConnection[Any], door: FaultProxy) -> None:
    door.silent()
    with suppress(TimeoutError):
        async with asyncio.timeout(0.1), conn.transaction():
            await conn.execute("select 1")


async def a_savepoint_left_by_an_error(
    conn: psycopg.AsyncConnection[Any], door: FaultProxy
) -> None:
    with suppress(LookupError):
        async with conn.transaction():
            heard_at = conn.hearing.statement_at  # type: ignore[attr-defined]
            door.reset()
            raise LookupError
    assert conn.hearing.statement_at == heard_at  # type: ignore[attr-defined]  # no answer came


async def a_pipeline_left_by_an_error(conn: psycopg.AsyncConnection[Any], door: FaultProxy) -> None:
    with suppress(LookupError):
        async with conn.pipeline():
            await conn.execute("select 1")
            door.reset()
            raise LookupError


async def a_pipeline_left_by_an_error_of_psycopg(
    conn: psycopg.AsyncConnection[Any], door: FaultProxy
) -> None:
    with suppress(psycopg.DataError):
        async with conn.pipeline():
            await conn.execute("select 1")
            door.reset()
            raise psycopg.DataError


async def a_copy_left_by_an_error(conn: psycopg.AsyncConnection[Any], door: FaultProxy) -> None:
    with suppress(LookupError):
        async with (
            conn.transaction(),
            conn.cursor() as cursor,
            cursor.copy("copy work (id) from stdin") as stream,
        ):
            await stream.write_row(["d"])
            door.reset()
            raise LookupError


async def a_savepoint_to_roll_back(conn: psycopg.AsyncConnection[Any], door: FaultProxy) -> None:
    async with conn.transaction(force_rollback=True):
        door.reset()
        await until(conn.has_unread)  # type: ignore[attr-defined]


# What these send is bounded for a task that is being cancelled.
OF_CANCELLED_TASKS = [closing_a_cursor, leaving_a_stream]


@pytest.mark.parametrize(
    "lose",
    [
        *OF_CANCELLED_TASKS,
        a_query_under_a_timeout,
        a_savepoint_under_a_timeout,
        a_savepoint_left_by_an_error,
        a_pipeline_left_by_an_error,
        a_pipeline_left_by_an_error_of_psycopg,
        a_copy_left_by_an_error,
        a_savepoint_to_roll_back,
    ],
)
@pytest.mark.parametrize("in_transaction", [True, False])
async def test_a_block_around_one_that_has_lost_the_session_does_not_end_well(
    in_transaction: bool,
    lose: Callable[..., Awaitable[None]],
    alone: Cluster,
    moor: Callable[..., Any],
    proxies: Callable[..., Any],
) -> None:
    (door,) = proxies(alone)
    manager = await moor(door, min_size=1, max_size=1, cancel_timeout=0.2, health_timeout=30)

    async def write() -> None:
        async with manager.connection() as conn, AsyncExitStack() as stack:
            if in_transaction:
                await stack.enter_async_context(conn.transaction())
            await conn.execute("insert into work (id) values ('lost')")
            await lose(conn, door)

    with pytest.raises(psycopg.OperationalError):
        await (after_a_swallowed_cancellation(write) if lose in OF_CANCELLED_TASKS else write())
    door.heal()
    assert await alone[0].sql("select id from work") == []


async def test_a_savepoint_that_is_rolled_back_without_a_session_is_not_the_whole_transaction(
    alone: Cluster, moor: Callable[..., Any], proxies: Callable[..., Any]
) -> None:
    (door,) = proxies(alone)
    manager = await moor(door, min_size=1, max_size=1, health_timeout=30)
    attempts = 0

    async def work(conn: psycopg.AsyncConnection[Any]) -> None:
        nonlocal attempts
        attempts += 1
        await conn.execute("insert into work (id) values ('once')")
        async with conn.transaction():
            if attempts == 1:
                door.reset()
            raise psycopg.Rollback

    await manager.run(work)

    assert attempts == 2
    assert await alone[0].sql("select id from work") == [("once",)]


async def test_what_was_committed_or_closed_on_purpose_is_not_lost(
    alone: Cluster, moor: Callable[..., Any], proxies: Callable[..., Any]
) -> None:
    (door,) = proxies(alone)
    manager = await moor(door, min_size=2, max_size=2, kwargs={"autocommit": True})
    async with manager.connection() as conn:
        await conn.execute("insert into work (id) values ('kept')")
        await a_pipeline_left_by_an_error(conn, door)
    assert await alone[0].sql("select id from work") == [("kept",)]

    async with manager.connection() as conn, asyncio.timeout(5):
        await conn.set_autocommit(False)
        await conn.execute("listen something")
        listener = asyncio.create_task(anext(conn.notifies()))
        await until(conn.lock.locked)
        await conn.close()
        listener.cancel()
        await asyncio.wait([listener])


async def test_a_block_of_the_connection_itself_does_not_end_well_either(
    alone: Cluster, moor: Callable[..., Any], proxies: Callable[..., Any]
) -> None:
    (door,) = proxies(alone)
    manager = await moor(door, min_size=1, max_size=1, cancel_timeout=0.2, health_timeout=30)
    conn = await manager.getconn()
    with pytest.raises(psycopg.OperationalError):
        async with conn:
            await conn.execute("insert into work (id) values ('lost')")
            await a_query_under_a_timeout(conn, door)
    await manager.putconn(conn)
