"""Opening, waiting and closing: the same for both classes."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING, Any

import pytest
from psycopg_pool import PoolClosed, PoolTimeout

from servers import NO_SERVER
from support import until

if TYPE_CHECKING:
    from collections.abc import Callable

    from servers import Watched


async def test_a_pool_that_is_not_open_dials_nothing_and_lends_nothing(
    make: Callable[..., Any], pool_class: Any, watched: Watched
) -> None:
    pool = make(pool_class, min_size=2)

    assert pool.closed
    with pytest.raises(PoolClosed, match="not open yet"):
        await pool.getconn()
    assert await watched.pids() == set()


async def test_open_and_wait_fill_the_pool_to_min_size(
    make: Callable[..., Any], pool_class: Any, watched: Watched
) -> None:
    pool = make(pool_class, min_size=3)
    await pool.open()
    await pool.wait(timeout=5)

    assert not pool.closed
    assert len(await watched.pids()) == 3
    await pool.wait()  # it is full: this returns at once
    await pool.open()
    await pool.open(wait=True)
    assert len(await watched.pids()) == 3
    other = make(pool_class, min_size=1)
    await other.open(wait=True, timeout=5)
    assert other.get_stats()["pool_size"] == 1


async def test_as_a_context_manager_a_pool_opens_and_closes(
    make: Callable[..., Any], pool_class: Any, watched: Watched
) -> None:
    async with make(pool_class, min_size=1) as pool:
        assert not pool.closed
        async with pool.connection() as conn:
            await conn.execute("select 1")
    assert pool.closed
    await watched.has(0)


async def test_an_open_pool_can_be_entered(make: Callable[..., Any], pool_class: Any) -> None:
    pool = make(pool_class, min_size=1)
    await pool.open()
    async with pool as same, same.connection():
        assert same is pool
    assert pool.closed


async def test_a_closed_pool_lends_nothing_and_stays_closed(pool: Callable[..., Any]) -> None:
    made = await pool(min_size=1)
    await made.close()
    await made.close()

    with pytest.raises(PoolClosed):
        await made.getconn()
    with pytest.raises(PoolClosed):
        async with made.connection():
            pass
    with pytest.raises(PoolClosed):
        await made.wait()
    with pytest.raises(PoolClosed):
        await made.open()


async def test_callers_who_wait_get_an_error_when_the_pool_is_closed(
    pool: Callable[..., Any],
) -> None:
    made = await pool(min_size=1, max_size=1)
    conn = await made.getconn()
    waiter = asyncio.create_task(made.getconn())
    await until(lambda: made.get_stats()["requests_waiting"] == 1)
    await made.close(timeout=0.2)

    with pytest.raises(PoolClosed):
        await waiter
    await made.putconn(conn)


async def test_a_held_connection_works_while_the_pool_closes_and_is_closed_on_return(
    pool: Callable[..., Any], watched: Watched
) -> None:
    made = await pool(min_size=2)
    await made.wait()
    held, closing = asyncio.Event(), asyncio.Event()

    async def holder() -> Any:
        async with made.connection() as conn:
            held.set()
            await closing.wait()
            await conn.execute("select 1")
            return conn

    task = asyncio.create_task(holder())
    await held.wait()
    end = asyncio.create_task(made.close(timeout=5))
    await watched.has(1)  # the idle one is closed at once
    closing.set()

    assert (await task).closed
    await end
    await watched.has(0)


async def test_without_a_server_open_succeeds_and_wait_fails(
    make: Callable[..., Any], pool_class: Any
) -> None:
    pool = make(pool_class, conninfo=NO_SERVER, min_size=1)
    await pool.open()
    began = monotonic()
    with pytest.raises(PoolTimeout):
        await pool.wait(timeout=0.2)
    assert 0.15 < monotonic() - began < 1.2
    other = make(pool_class, conninfo=NO_SERVER, min_size=1)
    with pytest.raises(PoolTimeout):
        await other.open(wait=True, timeout=0.2)


async def test_a_pool_has_the_given_name_or_one_of_its_own(
    make: Callable[..., Any], pool_class: Any
) -> None:
    assert make(pool_class, name="orders").name == "orders"
    one, other = make(pool_class), make(pool_class)
    assert one.name
    assert one.name != other.name
    assert one.name in repr(one)
