"""Where ours differs on purpose; docs/migration.md or docs/limits.md explains each."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from pgmoor import (
    ConfigError,
    ConnectionAborted,
    ConnectionManager,
    ManagerClosed,
    PoolExhausted,
)
from servers import NO_SERVER
from support import until

if TYPE_CHECKING:
    from collections.abc import Callable

    from servers import Watched


async def test_a_wait_that_times_out_leaves_ours_open(make: Callable[..., Any]) -> None:
    theirs = make(AsyncConnectionPool, conninfo=NO_SERVER, min_size=1)
    ours = make(ConnectionManager, conninfo=NO_SERVER, min_size=1)
    for pool in (theirs, ours):
        await pool.open()
        with pytest.raises(PoolTimeout):
            await pool.wait(timeout=0.1)

    assert theirs.closed
    assert not ours.closed


async def test_the_constructor_opens_ours_only_with_open_true(watched: Watched) -> None:
    with pytest.warns(RuntimeWarning, match="deprecated"):
        theirs = AsyncConnectionPool(watched.conninfo, min_size=1, open=True)
    ours = ConnectionManager(watched.conninfo, min_size=1, open=True)  # no warning
    unopened = ConnectionManager(watched.conninfo, min_size=1)  # theirs would open itself
    try:
        for pool in (theirs, ours):
            async with pool.connection(timeout=5) as conn:
                await conn.execute("select 1")
        with pytest.raises(ManagerClosed, match="not open yet"):
            await unopened.getconn()
    finally:
        await theirs.close()
        await ours.close()


def test_open_true_without_a_running_loop_is_a_config_error() -> None:
    with (
        pytest.warns(RuntimeWarning, match="deprecated"),
        pytest.raises(RuntimeError, match="no running loop"),
    ):
        AsyncConnectionPool(NO_SERVER, open=True)
    with pytest.raises(ConfigError, match="no event loop"):
        ConnectionManager(NO_SERVER, open=True)


async def test_open_true_with_a_callable_for_the_hosts_is_a_config_error(watched: Watched) -> None:
    with pytest.raises(ConfigError, match="callable"):
        ConnectionManager(lambda: watched.conninfo, open=True)


async def test_the_first_answer_of_a_callable_names_the_hosts_and_the_newest_all_else(
    watched: Watched,
) -> None:
    given = psycopg.conninfo.conninfo_to_dict(watched.conninfo)
    names = iter(("first", "second"))

    def kwargs() -> dict[str, Any]:
        name = next(names, "later")
        host = given if name == "first" else {**given, "port": "1"}
        return {**host, "application_name": name}

    manager = ConnectionManager(kwargs=kwargs, min_size=1, max_size=1)
    async with manager, manager.connection(timeout=5) as conn:
        cursor = await conn.execute("show application_name")
        assert await cursor.fetchone() == ("second",)


async def test_a_connection_that_is_held_when_close_ends_its_wait_is_cut_by_ours(
    make: Callable[..., Any],
) -> None:
    theirs, ours = (make(kind, min_size=1) for kind in (AsyncConnectionPool, ConnectionManager))
    for pool in (theirs, ours):
        await pool.open()
        conn = await pool.getconn(timeout=5)
        await pool.close(timeout=0.1)
        if pool is theirs:
            await conn.execute("select 1")  # as long as its holder likes
        else:
            with pytest.raises(ConnectionAborted, match="the manager is closed"):
                await conn.execute("select 1")
        await pool.putconn(conn)
        assert conn.closed


async def test_ours_stays_closed_once_closed_before_it_was_opened(make: Callable[..., Any]) -> None:
    theirs, ours = (make(kind, min_size=1) for kind in (AsyncConnectionPool, ConnectionManager))
    await theirs.close()
    await ours.close()
    await theirs.open()
    with pytest.raises(ManagerClosed):
        await ours.open()


async def test_our_check_has_a_timeout_and_its_transaction_is_rolled_back(
    make: Callable[..., Any],
) -> None:
    async def check(conn: psycopg.AsyncConnection[Any]) -> None:
        await conn.execute("select 1")

    for kind, status in ((AsyncConnectionPool, "INTRANS"), (ConnectionManager, "IDLE")):
        pool = make(kind, min_size=1, check=check)
        await pool.open()
        conn = await pool.getconn(timeout=5)
        assert conn.info.transaction_status.name == status
        await pool.putconn(conn)

    async def hangs(_: psycopg.AsyncConnection[Any]) -> None:
        await asyncio.Event().wait()

    ours = make(ConnectionManager, min_size=1, check=hangs)
    await ours.open()
    began = monotonic()
    with pytest.raises(PoolTimeout):
        await ours.getconn(timeout=0.3)
    assert monotonic() - began < 1.5


async def test_a_check_that_always_fails_makes_connections_with_backoff(
    make: Callable[..., Any],
) -> None:
    checked: list[object] = []

    async def check(conn: psycopg.AsyncConnection[Any]) -> None:
        checked.append(conn)
        raise RuntimeError

    ours = make(ConnectionManager, min_size=1, max_size=1, check=check)
    await ours.open()
    with pytest.raises(PoolTimeout):
        await ours.getconn(timeout=1)

    assert 1 < len(checked) < 30  # without a pause there are more than a hundred
    assert len(set(checked)) == len(checked)


async def test_ours_notices_a_broken_connection_without_check(
    make: Callable[..., Any], watched: Watched
) -> None:
    theirs, ours = (
        make(kind, min_size=1, max_size=1) for kind in (AsyncConnectionPool, ConnectionManager)
    )
    for pool in (theirs, ours):
        await pool.open()
        async with pool.connection(timeout=5) as conn:
            pass
        await watched.end(conn.info.backend_pid)
    with pytest.raises(psycopg.OperationalError):
        async with theirs.connection(timeout=5) as conn:
            await conn.execute("select 1")
    async with ours.connection(timeout=5) as conn:
        await conn.execute("select 1")


async def test_a_check_that_does_nothing_does_not_let_a_dead_connection_through(
    make: Callable[..., Any], watched: Watched
) -> None:
    async def check(_: psycopg.AsyncConnection[Any]) -> None:
        pass

    ours = make(ConnectionManager, min_size=1, max_size=1, check=check)
    await ours.open()
    async with ours.connection(timeout=5) as conn:
        pass
    await watched.end(conn.info.backend_pid)
    async with ours.connection(timeout=5) as conn:
        await conn.execute("select 1")


async def test_with_a_timeout_of_0_ours_lends_an_idle_connection(
    make: Callable[..., Any],
) -> None:
    theirs, ours = (make(kind, min_size=1) for kind in (AsyncConnectionPool, ConnectionManager))
    for pool in (theirs, ours):
        await pool.open(wait=True)
    with pytest.raises(PoolTimeout):
        await theirs.getconn(timeout=0)
    await ours.putconn(await ours.getconn(timeout=0))
    conns = [await ours.getconn(timeout=0.1)]
    for timeout in (0, -1):
        with pytest.raises(PoolExhausted):
            await ours.getconn(timeout=timeout)
    await ours.putconn(conns.pop())


async def test_our_lifetimes_are_spread_by_a_tenth_and_theirs_by_a_twentieth(
    make: Callable[..., Any],
) -> None:
    lives: list[list[float]] = []
    for kind, expiry in ((AsyncConnectionPool, "_expire_at"), (ConnectionManager, "expires_at")):
        pool = make(kind, min_size=30, max_lifetime=1000.0)
        await pool.open(wait=True)
        now = monotonic()
        conns = [await pool.getconn() for _ in range(30)]
        lives.append([getattr(conn, expiry) - now for conn in conns])
        for conn in conns:
            await pool.putconn(conn)
        await pool.close()
    theirs, ours = lives

    assert min(theirs) > 940
    assert 890 < min(ours) < 950 < max(ours) <= 1000


async def test_resized_down_and_up_again_ours_keeps_its_limits_and_theirs_makes_more(
    make: Callable[..., Any], watched: Watched
) -> None:
    for kind, expected in ((AsyncConnectionPool, 7), (ConnectionManager, 4)):
        pool = make(kind, min_size=4)
        await pool.open(wait=True)
        await pool.resize(1, 4)
        await pool.resize(4, 4)
        await until(lambda pool=pool: pool.get_stats()["pool_available"] == 4)  # type: ignore[misc]
        await watched.has(expected)
        await pool.close()
        await watched.has(0)


async def test_a_minimum_that_is_lowered_and_raised_holds(
    make: Callable[..., Any], watched: Watched
) -> None:
    ours = make(ConnectionManager, min_size=3, max_idle=0.1)
    await ours.open(wait=True)
    await ours.resize(1, 3)
    await watched.has(1)
    await ours.resize(3, 3)
    await watched.has(3)


async def test_ours_lends_what_was_used_last_and_theirs_what_has_been_idle_longest(
    make: Callable[..., Any],
) -> None:
    for kind, sessions in ((AsyncConnectionPool, 4), (ConnectionManager, 1)):
        pool = make(kind, min_size=4)
        await pool.open()
        conns = [await pool.getconn(timeout=5) for _ in range(4)]
        for conn in conns:
            await pool.putconn(conn)
        used: set[Any] = set()
        for _ in range(8):
            async with pool.connection() as conn:
                used.add(conn)
        assert len(used) == sessions


async def test_our_putconn_waits_for_reset_and_theirs_leaves_it_to_a_worker(
    make: Callable[..., Any],
) -> None:
    for kind, done_at_once in ((AsyncConnectionPool, False), (ConnectionManager, True)):
        done: list[bool] = []

        async def reset(conn: psycopg.AsyncConnection[Any], done: list[bool] = done) -> None:
            await conn.execute("select 1")
            await conn.rollback()
            done.append(True)

        pool = make(kind, min_size=1, reset=reset)
        await pool.open()
        await pool.putconn(await pool.getconn(timeout=5))
        assert bool(done) is done_at_once
        await until(lambda done=done: bool(done))  # type: ignore[misc]


def test_ours_refuses_durations_of_0_and_infinity() -> None:
    for setting in ("timeout", "max_lifetime", "reconnect_timeout"):
        for value in (0, float("inf")):
            AsyncConnectionPool(NO_SERVER, open=False, **{setting: value})  # type: ignore[arg-type]
            with pytest.raises(ConfigError, match=setting):
                ConnectionManager(NO_SERVER, **{setting: value})  # type: ignore[arg-type]


def test_our_class_shows_no_conninfo() -> None:
    manager = ConnectionManager("host=db1 password=secret")
    assert not hasattr(manager, "conninfo")
    assert not hasattr(manager, "kwargs")
