"""How a checkout tests connections, and what keeps idle ones alive; on a real server.

What `AsyncConnectionPool` does as well is tested in tests/dropin.
"""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING, Any

import pytest

from pgmoor._core.connection import bounded_read
from pgmoor._core.pool import verification
from support import fill, until

if TYPE_CHECKING:
    from collections.abc import Callable

    import psycopg

    from pgmoor import ManagedConnection
    from pgmoor.testing import Cluster


@pytest.fixture
def pinged(monkeypatch: pytest.MonkeyPatch) -> list[ManagedConnection]:
    """Record the connections that the pool pings."""
    conns: list[ManagedConnection] = []

    async def ping(conn: ManagedConnection, timeout: float) -> None:
        conns.append(conn)
        await bounded_read.ping(conn, timeout)

    monkeypatch.setattr(verification, "ping", ping)
    return conns


async def test_ten_dead_connections_cost_a_caller_no_more_than_a_moment(
    alone: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(*alone, min_size=10, max_size=10)
    for conn in await fill(manager, 10):
        conn.abort("cut by the test")
    began = monotonic()
    async with manager.connection() as conn:
        assert monotonic() - began < 0.3
        await conn.execute("select 1")


async def test_a_connection_on_which_a_notification_arrived_is_lent_again(
    alone: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(*alone, min_size=1, max_size=1)
    async with manager.connection() as conn:
        await conn.execute("listen chat")
    await alone[0].sql("notify chat, 'hello'")
    await until(conn.has_unread)

    async with manager.connection() as again:
        assert again is conn
        async for notify in again.notifies(timeout=1, stop_after=1):
            assert notify.payload == "hello"


async def test_a_connection_that_has_been_idle_for_long_is_pinged_and_no_other(
    alone: Cluster, moor: Callable[..., Any], pinged: list[ManagedConnection]
) -> None:
    manager = await moor(*alone, min_size=1, max_size=1, validate_after=60)
    await fill(manager, 1)
    async with manager.connection() as conn:
        pass
    assert pinged == []

    conn.idle_since -= 61
    async with manager.connection() as again:
        assert again is conn
    assert pinged == [conn]


async def test_keepalive_pings_all_idle_connections_and_keeps_them(
    alone: Cluster, moor: Callable[..., Any], pinged: list[ManagedConnection]
) -> None:
    manager = await moor(*alone, min_size=4, max_size=4, keepalive_interval=0.1)
    conns = set(await fill(manager, 4))

    await until(lambda: set(pinged) == conns, timeout=5)

    assert manager._runtime.queue.pool.connections == conns
    await until(lambda: manager.get_stats()["pool_available"] == 4)


async def test_keepalive_replaces_a_dead_connection_without_traffic(
    alone: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(*alone, min_size=2, max_size=2, keepalive_interval=0.1)
    dead, alive = await fill(manager, 2)
    dead.abort("cut by the test")

    await until(lambda: dead not in manager._runtime.queue.pool.connections, timeout=5)
    await until(lambda: manager.get_stats()["pool_size"] == 2, timeout=5)

    assert alive in manager._runtime.queue.pool.connections


async def test_a_caller_who_waits_does_not_get_an_expired_connection(
    alone: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(*alone, min_size=1, max_size=1, max_lifetime=0.05)
    conn = await manager.getconn()
    await until(lambda: monotonic() > conn.expires_at)
    waiter = asyncio.create_task(manager.getconn())
    await until(lambda: manager.get_stats()["requests_waiting"] == 1)
    await manager.putconn(conn)

    other = await waiter
    assert other is not conn
    await manager.putconn(other)


async def test_a_connection_whose_configure_failed_is_made_again(
    alone: Cluster, moor: Callable[..., Any]
) -> None:
    failures = ["once"]

    async def configure(conn: psycopg.AsyncConnection[Any]) -> None:
        if failures:
            failures.pop()
            raise RuntimeError("configure failed")
        await conn.execute("set application_name = 'configured'")
        await conn.commit()

    manager = await moor(*alone, min_size=1, max_size=1, configure=configure)
    async with manager.connection(timeout=5) as conn:
        cursor = await conn.execute("show application_name")
        assert await cursor.fetchone() == ("configured",)
