"""What `get_stats()` counts: the same for both classes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg_pool import PoolTimeout, TooManyRequests

from servers import NO_SERVER
from support import until

if TYPE_CHECKING:
    from collections.abc import Callable

    from servers import Watched


def counted(pool: Any, *names: str) -> list[int]:
    """Return counters; psycopg_pool leaves out those that were never touched."""
    stats = pool.get_stats()
    return [stats.get(name, 0) for name in names]


async def test_figures_are_there_before_while_and_after_a_pool_is_open(
    make: Callable[..., Any], pool_class: Any
) -> None:
    pool = make(pool_class, min_size=1, max_size=2)
    sizes = {"pool_min": 1, "pool_max": 2, "requests_waiting": 0, "pool_available": 0}
    assert sizes.items() <= pool.get_stats().items()
    await pool.open(wait=True)
    conn = await pool.getconn()
    assert {**sizes, "pool_size": 1}.items() <= pool.get_stats().items()
    await pool.putconn(conn)
    assert {**sizes, "pool_available": 1}.items() <= pool.get_stats().items()
    await pool.close()
    assert sizes.items() <= pool.get_stats().items()


async def test_requests_and_their_waiting_time_are_counted(pool: Callable[..., Any]) -> None:
    made = await pool(min_size=1, max_size=1, max_waiting=1)
    await made.wait()
    async with made.connection():
        waiter = asyncio.create_task(made.getconn())
        await until(lambda: made.get_stats()["requests_waiting"] == 1)
        with pytest.raises(TooManyRequests):
            await made.getconn()
        await asyncio.sleep(0.05)  # the one waits and the other holds
    await made.putconn(await waiter)

    names = ("requests_num", "requests_queued", "requests_errors")
    assert counted(made, *names) == [3, 1, 1]
    waited, held = counted(made, "requests_wait_ms", "usage_ms")
    assert 45 <= waited < 1000
    assert 45 <= held < 1000
    with pytest.raises(PoolTimeout):
        async with made.connection():
            await made.getconn(timeout=0.01)
    assert counted(made, "requests_num", "requests_errors") == [5, 2]


async def test_connections_and_the_time_to_make_them_are_counted(pool: Callable[..., Any]) -> None:
    made = await pool(min_size=2)
    await made.wait()
    assert counted(made, "connections_num", "connections_errors") == [2, 0]
    assert 0 <= counted(made, "connections_ms")[0] < 2000
    await made.drain()
    await until(lambda: counted(made, "connections_num") == [4])


async def test_failed_attempts_are_counted_too(pool: Callable[..., Any]) -> None:
    failures = ["once"]

    class FailsOnce(psycopg.AsyncConnection[Any]):
        @classmethod
        async def connect(cls, *args: Any, **kwargs: Any) -> Any:
            if failures:
                failures.pop()
                raise psycopg.OperationalError("not now")
            return await super().connect(*args, **kwargs)

    made = await pool(min_size=1, connection_class=FailsOnce)
    await made.wait(timeout=5)

    assert counted(made, "connections_num") == [counted(made, "connections_errors")[0] + 1]


async def test_connections_that_come_back_broken_are_counted(
    pool: Callable[..., Any], watched: Watched
) -> None:
    made = await pool(min_size=1, max_size=1)
    with pytest.raises(psycopg.OperationalError):
        async with made.connection() as conn:
            await watched.end(conn.info.backend_pid)
            await conn.execute("select 1")
    await until(lambda: counted(made, "returns_bad") == [1])


async def test_connections_that_a_checkout_finds_broken_are_counted(
    pool: Callable[..., Any], watched: Watched, pool_class: Any
) -> None:
    made = await pool(min_size=1, max_size=1, check=pool_class.check_connection)
    async with made.connection() as conn:
        pass
    await watched.end(conn.info.backend_pid)
    async with made.connection(timeout=5):
        pass
    await until(lambda: counted(made, "connections_lost") == [1])


async def test_pop_stats_resets_the_counters(pool: Callable[..., Any]) -> None:
    made = await pool(min_size=1)
    async with made.connection():
        pass
    popped = made.pop_stats()

    assert (popped["requests_num"], popped["connections_num"]) == (1, 1)
    assert counted(made, "requests_num", "connections_num", "usage_ms") == [0, 0, 0]
    assert made.get_stats()["pool_size"] == 1


async def test_without_a_server_requests_and_their_errors_are_counted(
    make: Callable[..., Any], pool_class: Any
) -> None:
    pool = make(pool_class, conninfo=NO_SERVER, min_size=1)
    await pool.open()
    with pytest.raises(PoolTimeout):
        await pool.getconn(timeout=0.1)
    assert counted(pool, "requests_num", "requests_errors", "pool_available") == [1, 1, 0]
