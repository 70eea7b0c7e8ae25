"""How many connections a pool has, and for how long: the same for both classes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from psycopg_pool import PoolTimeout

from support import until

if TYPE_CHECKING:
    from collections.abc import Callable

    from servers import Watched


async def take(pool: Any, count: int) -> list[Any]:
    return [await pool.getconn(timeout=5) for _ in range(count)]


async def give(pool: Any, conns: list[Any]) -> None:
    for conn in conns:
        await pool.putconn(conn)


async def test_a_pool_grows_to_max_size_while_callers_wait_and_no_further(
    pool: Callable[..., Any], watched: Watched
) -> None:
    made = await pool(min_size=1, max_size=3)
    conns = await take(made, 3)
    with pytest.raises(PoolTimeout):
        await made.getconn(timeout=0.2)

    assert await watched.pids() == {conn.info.backend_pid for conn in conns}
    await give(made, conns)
    assert made.get_stats()["pool_size"] == made.get_stats()["pool_available"] == 3


async def test_max_size_is_min_size_by_default(pool: Callable[..., Any], watched: Watched) -> None:
    made = await pool(min_size=2)
    conns = await take(made, 2)
    with pytest.raises(PoolTimeout):
        await made.getconn(timeout=0.2)

    assert (made.min_size, made.max_size) == (2, 2)
    await watched.has(2)
    await give(made, conns)


async def test_with_min_size_0_a_pool_starts_empty(
    pool: Callable[..., Any], watched: Watched
) -> None:
    made = await pool(min_size=0, max_size=2)
    await made.wait(timeout=5)
    assert await watched.pids() == set()
    async with made.connection(timeout=5):
        pass

    assert len(await watched.pids()) == 1  # it is kept


async def test_connections_unused_for_max_idle_are_closed_down_to_min_size(
    pool: Callable[..., Any], watched: Watched
) -> None:
    made = await pool(min_size=1, max_size=3, max_idle=0.1)
    await give(made, await take(made, 3))

    await watched.has(1)
    await until(lambda: made.get_stats()["pool_size"] == 1)
    async with made.connection(timeout=2):
        pass


async def test_a_connection_older_than_max_lifetime_is_replaced_on_return(
    pool: Callable[..., Any], watched: Watched
) -> None:
    made = await pool(min_size=1, max_size=1, max_lifetime=0.1)
    conn = await made.getconn()
    await asyncio.sleep(0.11)  # it has to grow old
    await made.putconn(conn)
    again = await made.getconn(timeout=2)

    assert again is not conn
    assert conn.closed
    await watched.has(1)
    await made.putconn(again)


def test_impossible_sizes_are_a_value_error(make: Callable[..., Any], pool_class: Any) -> None:
    refused: tuple[dict[str, int], ...] = (
        {"min_size": -1},
        {"min_size": 2, "max_size": 1},
        {"min_size": 0, "max_size": 0},
        {"min_size": 0},
        {"num_workers": 0},
    )
    for sizes in refused:
        with pytest.raises(ValueError, match=r"size|workers"):
            make(pool_class, **sizes)


async def test_resize_up_makes_connections_and_changes_the_limits(
    pool: Callable[..., Any], watched: Watched
) -> None:
    made = await pool(min_size=1, max_size=1)
    await made.resize(2, 4)

    assert (made.min_size, made.max_size) == (2, 4)
    await watched.has(2)
    await give(made, await take(made, 4))
    await made.resize(3)
    assert (made.min_size, made.max_size) == (3, 3)


async def test_resize_up_serves_callers_who_come_while_others_wait(
    pool: Callable[..., Any],
) -> None:
    made = await pool(min_size=1, max_size=1)
    conn = await made.getconn()
    first = asyncio.create_task(made.getconn(timeout=5))
    await until(lambda: made.get_stats()["requests_waiting"] == 1)
    await made.resize(1, 3)
    second = await made.getconn(timeout=5)

    assert (await first) is not second
    await give(made, [conn, second, await first])


async def test_resize_down_closes_unused_connections_after_max_idle(
    pool: Callable[..., Any], watched: Watched
) -> None:
    made = await pool(min_size=3, max_size=3, max_idle=0.1)
    await give(made, await take(made, 3))
    await made.resize(1, 2)

    await watched.has(1)
    with pytest.raises(ValueError, match="size"):
        await made.resize(2, 1)
    assert (made.min_size, made.max_size) == (1, 2)


async def test_drain_renews_idle_connections_now_and_held_ones_on_return(
    pool: Callable[..., Any], watched: Watched
) -> None:
    made = await pool(min_size=3)
    await made.wait()
    before = await watched.pids()
    conn = await made.getconn()
    await made.drain()
    await until(lambda: made.get_stats()["pool_available"] == 2)

    assert await watched.pids() & before == {conn.info.backend_pid}
    await made.putconn(conn)
    await until(lambda: made.get_stats()["pool_available"] == 3)
    assert not await watched.pids() & before


async def test_check_replaces_broken_connections_and_keeps_the_others(
    pool: Callable[..., Any], watched: Watched
) -> None:
    made = await pool(min_size=3)
    await made.wait()
    before = await watched.pids()
    broken, *sound = before
    await watched.end(broken)
    await made.check()
    await watched.has(3)

    assert await watched.pids() & before == set(sound)
