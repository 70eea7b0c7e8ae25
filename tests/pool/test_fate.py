"""`HostPool.fate()`: whether a connection is reused, reset first, or closed."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from pgmoor._core.pool.fate import Fate

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgmoor import ConnectionManager, ManagedConnection
    from pgmoor.testing import Cluster

REUSE, RESET, CLOSE = Fate


async def transaction(_: ConnectionManager, conn: ManagedConnection) -> None:
    await conn.execute("select 1")


async def failed_transaction(_: ConnectionManager, conn: ManagedConnection) -> None:
    with pytest.raises(psycopg.errors.DivisionByZero):
        await conn.execute("select 1/0")


async def running(_: ConnectionManager, conn: ManagedConnection) -> None:
    conn.pgconn.send_query(b"select pg_sleep(100)")


async def locked(_: ConnectionManager, conn: ManagedConnection) -> None:
    await conn.lock.acquire()


async def closed(_: ConnectionManager, conn: ManagedConnection) -> None:
    await conn.close()


async def expired(_: ConnectionManager, conn: ManagedConnection) -> None:
    conn.expires_at = monotonic()


async def drained(manager: ConnectionManager, _: ManagedConnection) -> None:
    await manager.drain()


async def retired(manager: ConnectionManager, _: ManagedConnection) -> None:
    assert manager._runtime is not None
    assert manager._runtime.queue.pool is not None
    manager._runtime.queue.pool.retire("the test is over", abort=False)


async def nothing(*_: Any) -> None:
    pass


@pytest.mark.parametrize(
    ("happens", "without_callback", "with_reset_callback"),
    [
        (nothing, REUSE, RESET),
        (transaction, RESET, RESET),
        (failed_transaction, RESET, RESET),
        (running, RESET, RESET),
        (locked, RESET, RESET),
        (closed, CLOSE, CLOSE),
        (expired, CLOSE, RESET),
        (drained, CLOSE, RESET),
        (retired, CLOSE, RESET),
    ],
    ids=lambda value: value.name if isinstance(value, Fate) else value.__name__,
)
async def test_the_fate_of_a_connection_that_comes_back_depends_on_what_happened_to_it(
    alone: Cluster,
    moor: Callable[..., Any],
    happens: Callable[..., Any],
    without_callback: Fate,
    with_reset_callback: Fate,
) -> None:
    for reset, expected in ((None, without_callback), (nothing, with_reset_callback)):
        manager = await moor(*alone, min_size=1, max_size=1, reset=reset, close_timeout=0.1)
        conn = await manager.getconn()
        pool = manager._runtime.queue.pool

        await happens(manager, conn)

        assert pool.fate(conn, monotonic()) is expected
        # After a reset, it is at rest or closed.
        after_reset = REUSE if happens is nothing else CLOSE
        assert pool.fate(conn, monotonic(), returned=False) is after_reset
        conn.discard()
        await manager.putconn(conn)
