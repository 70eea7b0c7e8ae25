"""A pool without idle connections: AsyncNullConnectionPool, and ours with `max_idle=0`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg_pool import AsyncNullConnectionPool, PoolTimeout, TooManyRequests

from pgmoor import ConfigError, ConnectionManager
from pgmoor.testing import FaultProxy
from servers import NO_SERVER
from support import until

if TYPE_CHECKING:
    from collections.abc import Callable

    from servers import Watched


@pytest.fixture
def null(make: Callable[..., Any], null_class: Any) -> Callable[..., Any]:
    async def build(**settings: Any) -> Any:
        made = make(null_class, **{"max_size": 2, **settings})
        await made.open()
        return made

    return build


async def test_a_pool_that_is_not_used_has_no_connection(
    null: Callable[..., Any], watched: Watched
) -> None:
    made = await null()
    await made.wait(timeout=5)
    await watched.has(0)
    async with made.connection(timeout=5) as conn:
        assert await watched.pids() == {conn.info.backend_pid}
    assert conn.closed
    await watched.has(0)


async def test_each_checkout_is_a_new_session(null: Callable[..., Any]) -> None:
    made = await null()
    pids = set()
    for _ in range(4):
        async with made.connection(timeout=5) as conn:
            pids.add(conn.info.backend_pid)

    assert len(pids) == 4
    assert made.get_stats()["connections_num"] == 4


async def test_up_to_max_size_are_made_and_the_next_caller_waits(
    null: Callable[..., Any], watched: Watched
) -> None:
    made = await null(max_waiting=1)
    conns = [await made.getconn(timeout=5) for _ in range(2)]
    waiter = asyncio.create_task(made.getconn(timeout=5))
    await until(lambda: made.get_stats()["requests_waiting"] == 1)
    with pytest.raises(TooManyRequests):
        await made.getconn()
    assert len(await watched.pids()) == 2

    await made.putconn(conns[0])
    assert await waiter is conns[0]  # handed over, and not closed
    with pytest.raises(PoolTimeout):
        await made.getconn(timeout=0.1)
    for conn in conns:
        await made.putconn(conn)
    await watched.has(0)


async def test_a_connection_that_breaks_leaves_room_for_another(
    null: Callable[..., Any], watched: Watched
) -> None:
    made = await null(max_size=1)
    with pytest.raises(psycopg.OperationalError):
        async with made.connection(timeout=5) as conn:
            await watched.end(conn.info.backend_pid)
            await conn.execute("select 1")
    async with made.connection(timeout=5) as conn:
        await conn.execute("select 1")
    assert made.get_stats()["returns_bad"] == 1


async def test_resize_changes_the_limit(null: Callable[..., Any]) -> None:
    made = await null(max_size=1)
    await made.resize(0, 2)
    conns = [await made.getconn(timeout=5) for _ in range(2)]
    for conn in conns:
        await made.putconn(conn)

    assert (made.min_size, made.max_size) == (0, 2)


async def test_wait_tells_whether_there_is_a_server(
    make: Callable[..., Any], null_class: Any
) -> None:
    pool = make(null_class, conninfo=NO_SERVER, max_size=1)
    await pool.open()
    with pytest.raises(PoolTimeout):
        await pool.wait(timeout=0.2)


async def test_check_and_drain_have_nothing_to_do(null: Callable[..., Any]) -> None:
    made = await null()
    await made.check()
    await made.drain()
    async with made.connection(timeout=5):
        pass


async def test_without_max_size_theirs_has_no_limit_and_ours_refuses(watched: Watched) -> None:
    AsyncNullConnectionPool(watched.conninfo, open=False)
    with pytest.raises(ConfigError, match="max_size"):
        ConnectionManager(watched.conninfo, min_size=0, max_idle=0)


async def test_ours_makes_num_workers_at_a_time_and_theirs_one_by_one(
    make: Callable[..., Any],
) -> None:
    for kind, expected in ((AsyncNullConnectionPool, 1), (ConnectionManager, 3)):
        most = at_work = 0

        async def configure(_: Any) -> None:
            nonlocal most, at_work
            at_work += 1
            most = max(most, at_work)
            await asyncio.sleep(0.05)
            at_work -= 1

        idle = {} if kind is AsyncNullConnectionPool else {"max_idle": 0}
        pool = make(kind, min_size=0, max_size=4, configure=configure, **idle)
        await pool.open()
        conns = await asyncio.gather(*(pool.getconn(timeout=5) for _ in range(4)))
        for conn in conns:
            await pool.putconn(conn)
        assert most == expected


async def test_ours_fails_over_without_an_idle_connection(
    pair: Any, moor: Callable[..., Any]
) -> None:
    with FaultProxy(pair[0].host, pair[0].port) as door:
        manager = await moor(door, pair[1], min_size=0, max_size=2, max_idle=0)
        async with manager.connection(timeout=5) as conn:
            await conn.execute("select 1")
        door.refuse()
        await pair[1].promote()
        async with manager.connection(timeout=10) as conn:
            await conn.execute("insert into work (id) values ('x')")
            assert conn.info.port == pair[1].port
        assert manager.get_stats()["pool_size"] == 0
