"""Checkouts and returns: the same for both classes."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg.pq import TransactionStatus
from psycopg_pool import PoolTimeout, TooManyRequests

from support import until

if TYPE_CHECKING:
    from collections.abc import Callable

    from servers import Watched


async def queue(pool: Any, count: int = 1) -> list[asyncio.Task[Any]]:
    """Have *count* callers join the queue, in this order."""
    before = pool.get_stats()["requests_waiting"]
    tasks = [asyncio.create_task(pool.getconn()) for _ in range(count)]
    await until(lambda: pool.get_stats()["requests_waiting"] == before + count)
    return tasks


async def test_a_block_commits_at_its_end_and_rolls_back_on_an_error(
    pool: Callable[..., Any], watched: Watched
) -> None:
    made = await pool(min_size=1)
    async with made.connection() as conn:
        await conn.execute("insert into work (id) values ('kept')")
    with pytest.raises(ZeroDivisionError):
        async with made.connection() as conn:
            await conn.execute("insert into work (id) values ('dropped')")
            raise ZeroDivisionError

    assert await watched.node.sql("select id from work") == [("kept",)]


async def test_getconn_and_putconn_leave_the_transaction_to_the_caller(
    pool: Callable[..., Any], watched: Watched
) -> None:
    made = await pool(min_size=1, max_size=1)
    conn = await made.getconn()
    await conn.execute("insert into work (id) values ('kept')")
    await conn.commit()
    await conn.execute("insert into work (id) values ('rolled back')")
    await made.putconn(conn)
    again = await made.getconn(timeout=2)

    assert again is conn
    assert again.info.transaction_status == TransactionStatus.IDLE
    await made.putconn(again)
    assert await watched.node.sql("select id from work") == [("kept",)]


async def test_a_return_in_a_transaction_is_warned_of_and_the_end_of_a_block_is_not(
    pool: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    def warnings() -> list[str]:
        return [record.message for record in caplog.records if record.levelname == "WARNING"]

    made = await pool(min_size=1, max_size=1)
    for query, status in (("select 1", "INTRANS"), ("select 1/0", "INERROR")):
        caplog.clear()
        with suppress(psycopg.errors.DivisionByZero):
            async with made.connection() as conn:
                await conn.execute(query)
        assert not warnings()
        conn = await made.getconn(timeout=2)
        with suppress(psycopg.errors.DivisionByZero):
            await conn.execute(query)
        await made.putconn(conn)
        async with made.connection(timeout=2) as again:
            assert again is conn
        (warning,) = warnings()
        assert status in warning


async def test_a_connection_used_as_a_block_commits_and_stays_open(
    pool: Callable[..., Any], watched: Watched
) -> None:
    made = await pool(min_size=1)
    conn = await made.getconn()
    async with conn:
        await conn.execute("insert into work (id) values ('kept')")
    assert not conn.closed
    await made.putconn(conn)

    assert await watched.node.sql("select id from work") == [("kept",)]


async def test_a_connection_whose_statement_failed_is_lent_again(
    pool: Callable[..., Any],
) -> None:
    made = await pool(min_size=1, max_size=1)
    with pytest.raises(psycopg.errors.DivisionByZero):
        async with made.connection() as conn:
            await conn.execute("select 1/0")
    async with made.connection(timeout=2) as again:
        assert again is conn


async def test_a_connection_that_its_holder_closed_is_replaced(pool: Callable[..., Any]) -> None:
    made = await pool(min_size=1, max_size=1)
    async with made.connection() as conn:
        await conn.close()
    async with made.connection(timeout=2) as again:
        assert again is not conn
        await again.execute("select 1")


async def test_a_connection_that_broke_while_it_was_held_is_replaced(
    pool: Callable[..., Any], watched: Watched
) -> None:
    made = await pool(min_size=1, max_size=1)
    with pytest.raises(psycopg.OperationalError):
        async with made.connection() as conn:
            await watched.end(conn.info.backend_pid)
            await conn.execute("select 1")
    async with made.connection(timeout=2) as again:
        await again.execute("select 1")


async def test_a_connection_that_comes_back_during_a_query_is_closed(
    pool: Callable[..., Any],
) -> None:
    made = await pool(min_size=1, max_size=1)
    conn = await made.getconn()
    conn.pgconn.send_query(b"select pg_sleep(100)")
    await made.putconn(conn)
    async with made.connection(timeout=2) as again:
        assert again is not conn
    assert conn.closed


async def test_waiting_ends_with_pool_timeout_after_the_pools_or_the_calls_timeout(
    pool: Callable[..., Any],
) -> None:
    made = await pool(min_size=1, max_size=1, timeout=0.2)
    conn = await made.getconn(timeout=5)
    began = monotonic()
    with pytest.raises(PoolTimeout):
        await made.getconn()
    with pytest.raises(PoolTimeout):
        await made.getconn(timeout=0.1)
    with pytest.raises(PoolTimeout):
        async with made.connection(timeout=0.1):
            pass

    assert 0.35 < monotonic() - began < 1.6
    await made.putconn(conn)
    await made.putconn(await made.getconn())


async def test_callers_are_served_in_the_order_of_their_arrival(pool: Callable[..., Any]) -> None:
    made = await pool(min_size=1, max_size=1)
    conn = await made.getconn()
    tasks = await queue(made, 5)
    for task in tasks:
        await made.putconn(conn)
        conn = await asyncio.wait_for(task, 2)
    await made.putconn(conn)


async def test_beyond_max_waiting_the_next_caller_fails_at_once(pool: Callable[..., Any]) -> None:
    made = await pool(min_size=1, max_size=1, max_waiting=2)
    conn = await made.getconn()
    first, second = await queue(made, 2)
    with pytest.raises(TooManyRequests) as refused:
        await made.getconn()
    assert repr(made.name) in str(refused.value)
    assert "2" in str(refused.value)  # callers wait
    await made.putconn(conn)
    await made.putconn(await first)
    await made.putconn(await second)


async def test_the_connection_of_a_cancelled_caller_goes_to_the_next(
    pool: Callable[..., Any],
) -> None:
    made = await pool(min_size=1, max_size=1)
    conn = await made.getconn()
    first, second = await queue(made, 2)
    first.cancel()
    await made.putconn(conn)

    assert await asyncio.wait_for(second, 2) is conn
    with pytest.raises(asyncio.CancelledError):
        await first
    await made.putconn(conn)


async def test_putconn_refuses_a_connection_that_is_not_held_or_of_another_pool(
    make: Callable[..., Any], pool_class: Any, watched: Watched
) -> None:
    one, other = make(pool_class, min_size=1), make(pool_class, min_size=1)
    await one.open()
    await other.open()
    conn = await one.getconn()
    with pytest.raises(ValueError, match=r"return|come from"):
        await other.putconn(conn)
    await one.putconn(conn)
    with pytest.raises(ValueError, match=r"return|given back"):
        await one.putconn(conn)
    async with await psycopg.AsyncConnection.connect(watched.conninfo) as foreign:
        with pytest.raises(ValueError, match=r"return|come from"):
            await one.putconn(foreign)


async def test_close_of_ones_own_class_may_give_the_connection_back(
    pool: Callable[..., Any],
) -> None:
    class Returns(psycopg.AsyncConnection[Any]):
        async def close(self) -> None:
            if lender := getattr(self, "_pool", None):
                await lender.putconn(self)
            else:
                await super().close()

    made = await pool(min_size=2, connection_class=Returns)
    await made.wait()
    conn = await made.getconn()
    await conn.execute("select 1")
    await conn.close()
    assert not conn.closed
    await until(lambda: made.get_stats()["pool_available"] == 2)
    with pytest.raises(ValueError, match=r"pool|returned"):
        await made.putconn(conn)
    held = [await made.getconn(timeout=2), await made.getconn(timeout=2)]
    assert conn in held
    for conn in held:
        await made.putconn(conn)
    await made.close()
    assert conn.closed


async def test_with_close_returns_close_gives_the_connection_back(pool: Callable[..., Any]) -> None:
    made = await pool(min_size=1, max_size=1, close_returns=True)
    conn = await made.getconn()
    await conn.execute("select 1")
    await conn.close()

    assert not conn.closed
    again = await made.getconn(timeout=2)
    assert again is conn
    assert again.info.transaction_status == TransactionStatus.IDLE
    await again.close()
