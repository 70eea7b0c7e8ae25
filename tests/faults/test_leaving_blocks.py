"""What psycopg sends when a task leaves a block: it is bounded, and costs no healthy connection."""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing, suppress
from time import monotonic
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from cancelling import (
    MANY,
    Halt,
    after_a_swallowed_cancellation,
    all_free,
    limited_by_anyio,
    limited_by_asyncio,
    pids,
)
from support import both_loops, until

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from pgmoor.testing import Cluster

ACTIVE = psycopg.pq.TransactionStatus.ACTIVE


async def in_a_transaction(conn: psycopg.AsyncConnection[Any], halt: Halt) -> None:
    async with conn.transaction():
        await conn.execute("select 1")
        await halt()


async def in_a_savepoint(conn: psycopg.AsyncConnection[Any], halt: Halt) -> None:
    await conn.execute("select 1")
    await in_a_transaction(conn, halt)


async def with_a_rollback(conn: psycopg.AsyncConnection[Any], halt: Halt) -> None:
    await conn.execute("select 1")
    try:
        await halt()
    finally:
        await conn.rollback()


async def in_a_pipeline(conn: psycopg.AsyncConnection[Any], halt: Halt) -> None:
    async with conn.pipeline() as pipeline:
        await conn.execute("select 1")
        await pipeline.sync()
        await conn.execute("select 2")
        await halt()


async def with_a_cursor_of_the_server(conn: psycopg.AsyncConnection[Any], halt: Halt) -> None:
    async with conn.cursor("rows") as cursor:
        await cursor.execute("select generate_series(1, 1000)")
        await cursor.fetchone()
        await halt()


async def in_a_copy(conn: psycopg.AsyncConnection[Any], halt: Halt) -> None:
    async with conn.cursor() as cursor, cursor.copy("copy work (id) from stdin") as stream:
        await stream.write_row(["d"])
        await halt()


async def in_a_copy_to_here(conn: psycopg.AsyncConnection[Any], halt: Halt) -> None:
    async with conn.cursor() as cursor, cursor.copy(f"copy ({MANY}) to stdout") as stream:
        await anext(aiter(stream))
        await halt()


async def in_a_stream(conn: psycopg.AsyncConnection[Any], halt: Halt) -> None:
    async with conn.cursor() as cursor:
        stream: Any = cursor.stream(MANY)
        async with aclosing(stream) as rows:
            await anext(rows)
            await halt()


@pytest.mark.parametrize(
    "work",
    [
        in_a_transaction,
        in_a_savepoint,
        with_a_rollback,
        in_a_pipeline,
        with_a_cursor_of_the_server,
        in_a_copy,
        in_a_copy_to_here,
        in_a_stream,
    ],
)
@both_loops
async def test_what_a_cancelled_task_still_sends_is_bounded_on_a_silent_server(
    work: Callable[[Any, Halt], Awaitable[None]],
    alone: Cluster,
    moor: Callable[..., Any],
    proxies: Callable[..., Any],
) -> None:
    (door,) = proxies(alone)
    manager = await moor(door, min_size=1, max_size=1, cancel_timeout=0.3, health_timeout=30)

    halt = Halt()

    async def borrow() -> None:
        async with manager.connection() as conn:
            await work(conn, halt)

    task = asyncio.create_task(borrow())
    await halt.reached.wait()
    door.silent()
    task.cancel()
    began = monotonic()
    done, _ = await asyncio.wait([task], timeout=5)
    taken = monotonic() - began
    door.heal()

    assert done
    assert task.cancelled()
    assert taken < 2.0, taken


@both_loops
async def test_a_cancelled_pipeline_leaves_a_usable_connection(
    alone: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(*alone, min_size=1, max_size=1, cancel_timeout=0.5)
    before = await pids(manager, 1)

    async def pipe() -> None:
        async with manager.connection() as conn, conn.pipeline():
            await conn.execute("select pg_sleep(10)")
            await Halt()()

    with pytest.raises(TimeoutError):
        await limited_by_asyncio(0.2, pipe())

    await all_free(manager)
    assert await pids(manager, 1) == before


async def test_a_copy_that_ends_well_is_not_cut_for_a_task_that_was_cancelled(
    alone: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(*alone, min_size=1, max_size=1, cancel_timeout=0.1)
    await alone[0].sql("create table slow (id text)")
    await alone[0].sql(
        "create function dawdle() returns trigger language plpgsql"
        " as $$ begin perform pg_sleep(0.5); return null; end $$"
    )
    await alone[0].sql("create trigger slow after insert on slow execute function dawdle()")

    async def copy() -> None:
        async with (
            manager.connection() as conn,
            conn.cursor() as cursor,
            cursor.copy("copy slow from stdin") as stream,
        ):
            await stream.write_row(["a"])

    try:
        await after_a_swallowed_cancellation(copy)
        assert await alone[0].sql("select id from slow") == [("a",)]
    finally:
        await alone[0].sql("drop table slow")
        await alone[0].sql("drop function dawdle")


async def many_statements(conn: psycopg.AsyncConnection[Any]) -> None:
    async with conn.pipeline():
        while True:
            await conn.execute("select 1")


async def many_rows(conn: psycopg.AsyncConnection[Any]) -> None:
    rows = ([str(number)] for number in range(50_000))
    await conn.cursor().executemany("insert into work (id) values (%s)", rows)


@pytest.mark.parametrize("work", [many_statements, many_rows])
@both_loops
async def test_a_timeout_while_a_pipeline_is_filled_costs_no_connection(
    work: Callable[[Any], Awaitable[None]], alone: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(*alone, min_size=1, max_size=1, cancel_timeout=20)
    before = await pids(manager, 1)

    async def pipe() -> None:
        async with manager.connection() as conn:
            await work(conn)

    for limited in (limited_by_asyncio, limited_by_anyio):
        began = monotonic()
        with pytest.raises(TimeoutError):
            await limited(0.1, pipe())
        assert monotonic() - began < 15.0

    await all_free(manager)
    assert await pids(manager, 1) == before
    assert await alone[0].sql("select id from work") == []


@pytest.mark.parametrize("work", [with_a_rollback, with_a_cursor_of_the_server])
async def test_a_session_that_is_lost_meanwhile_leaves_a_cancelled_task_cancelled(
    work: Callable[[Any, Halt], Coroutine[Any, Any, None]],
    alone: Cluster,
    moor: Callable[..., Any],
    proxies: Callable[..., Any],
) -> None:
    (door,) = proxies(alone)
    manager = await moor(door, min_size=1, max_size=1, cancel_timeout=30, health_timeout=30)
    halt = Halt()
    conn = await manager.getconn()
    task = asyncio.create_task(work(conn, halt))
    await halt.reached.wait()
    door.silent()
    task.cancel()
    await until(lambda: conn.pgconn.transaction_status == ACTIVE)
    door.reset()
    await asyncio.wait([task], timeout=5)

    assert task.cancelled()
    door.heal()
    await manager.putconn(conn)


async def test_a_session_that_its_server_ended_leaves_a_cancelled_task_cancelled(
    alone: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(*alone, min_size=1, max_size=1, cancel_timeout=5)
    halt = Halt()
    conn = await manager.getconn()
    await conn.execute("set idle_in_transaction_session_timeout = 50")  # its error is no
    task = asyncio.create_task(with_a_rollback(conn, halt))  # OperationalError
    await halt.reached.wait()
    await until(conn.has_unread)
    task.cancel()
    await asyncio.wait([task], timeout=5)

    assert task.cancelled()
    await manager.putconn(conn)


@both_loops
async def test_a_cancelled_copy_that_waits_for_a_lock_leaves_a_usable_connection(
    alone: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(*alone, min_size=2, max_size=2, cancel_timeout=5)
    before = await pids(manager, 2)
    await alone[0].sql(
        "create function locked() returns trigger language plpgsql"
        " as $$ begin perform pg_advisory_xact_lock(7); return new; end $$"
    )
    await alone[0].sql(
        "create trigger locked before insert on work for each row execute function locked()"
    )
    halt = Halt()

    async def copy() -> None:
        async with (
            manager.connection() as conn,
            conn.cursor() as cursor,
            cursor.copy("copy work (id) from stdin") as stream,
        ):
            for number in range(10_000):
                await stream.write_row([f"{number:>100}"])
            await halt()

    try:
        async with manager.connection() as holder:
            await holder.execute("select pg_advisory_xact_lock(7)")
            task = asyncio.create_task(copy())
            await halt.reached.wait()
            await alone[0].wait_for(
                "select exists (select from pg_stat_activity where wait_event_type = 'Lock')"
            )
            task.cancel()
            began = monotonic()
            await asyncio.wait([task], timeout=5)
            assert monotonic() - began < 3.0
        assert task.cancelled()
        await all_free(manager)
        assert await pids(manager, 2) == before
    finally:
        await alone[0].sql("drop trigger locked on work")
        await alone[0].sql("drop function locked")


async def test_the_end_of_a_block_does_not_take_another_tasks_answer(
    alone: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(*alone, min_size=1, max_size=1)
    async with asyncio.timeout(5), manager.connection() as conn:
        await conn.execute("select 1")
        async with conn.transaction():
            other = asyncio.create_task(conn.execute("select pg_sleep(0.5)"))
            await until(lambda: conn.pgconn.transaction_status == ACTIVE)
            time.sleep(1)  # noqa: ASYNC251  the answer arrives, and the loop has not seen it
        cursor = await other
        assert cursor.rowcount == 1


@both_loops
async def test_a_loop_over_a_stream_may_be_left_early(
    alone: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(*alone, min_size=1, max_size=1, cancel_timeout=5)
    before = await pids(manager, 1)

    async def first() -> Any:
        async with manager.connection() as conn:
            async for row in conn.cursor().stream(MANY):
                return row
        return None

    async with manager.connection() as conn:
        async for _ in conn.cursor().stream(MANY):
            break
    assert await first() is not None
    with pytest.raises(LookupError):
        async with manager.connection() as conn:
            async for _ in conn.cursor().stream(MANY):
                raise LookupError

    await all_free(manager)
    assert await pids(manager, 1) == before


async def a_stream(conn: psycopg.AsyncConnection[Any]) -> Any:
    rows = conn.cursor().stream("select generate_series(1, 10)")
    await anext(rows)
    return rows


async def notifications(conn: psycopg.AsyncConnection[Any]) -> Any:
    await conn.execute("listen something")
    await conn.execute("notify something")
    await conn.commit()
    await conn.execute("select 1")
    found = conn.notifies()
    await anext(found)
    return found


async def a_listener(conn: psycopg.AsyncConnection[Any]) -> Any:
    await conn.execute("listen something")
    found = conn.notifies()
    waiting = asyncio.ensure_future(anext(found))
    await until(lambda: conn.is_waited_for)  # type: ignore[attr-defined]
    return waiting


@pytest.mark.parametrize("leave", [a_stream, notifications, a_listener])
async def test_a_block_that_leaves_a_stream_open_is_told_so_and_does_not_hang(
    leave: Callable[[Any], Awaitable[Any]], alone: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(*alone, min_size=1, max_size=1)
    with pytest.raises(psycopg.ProgrammingError, match="aclosing"):
        async with asyncio.timeout(5), manager.connection() as conn:
            left = await leave(conn)
    async with manager.connection() as conn:  # another one
        await conn.execute("select 1")
    with suppress(psycopg.Error):
        await (left if isinstance(left, asyncio.Future) else left.aclose())
