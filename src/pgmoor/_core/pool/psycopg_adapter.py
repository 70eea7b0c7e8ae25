"""All that knows how psycopg_pool works inside.

psycopg_pool calls `connect()` of its connection class and nothing else of it, so it is given an
object whose `connect()` is the dialler's.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING, Any, cast

from psycopg_pool import AsyncConnectionPool

from pgmoor._core.connection.managed import ManagedConnection
from pgmoor._core.dialling.dialler import HostLeft
from pgmoor._core.reporting.psycopg_logs import WarningsAbout
from pgmoor._core.util.asynctools import being_cancelled

if TYPE_CHECKING:
    from pgmoor._core.dialling.dialler import Dialler
    from pgmoor._core.settings.settings import Settings
    from pgmoor._core.settings.sizes import Sizes

logging.getLogger("psycopg.pool").addFilter(WarningsAbout(ManagedConnection, HostLeft))

FOREVER = 1e9  # seconds: what psycopg_pool gets where the decision is made here
SHRINK_EVERY = 1.0  # seconds: with max_idle=0 only `resize()` leaves more than `min_size` idle


class DialAdapter:
    """Stands in for the connection class of an `AsyncConnectionPool`."""

    def __init__(self, dialler: Dialler[Any]) -> None:
        self._dialler = dialler

    async def connect(self, conninfo: str = "", **kwargs: Any) -> ManagedConnection:  # noqa: ARG002
        """Return a connection that the dialler made, by the manager's settings."""
        try:
            conn: ManagedConnection = await self._dialler.dial()
        except asyncio.CancelledError:
            worker = asyncio.current_task()
            if worker is not None and being_cancelled():
                _cancel_until_done(worker)
            raise
        return conn


def _cancel_until_done(worker: asyncio.Task[Any]) -> None:
    """End one of psycopg_pool's workers, at the end of a program that did not close its manager.

    The worker takes a cancellation for a failed attempt and goes on. `asyncio.run()` cancels it
    once, and would wait for it for ever.
    """
    if not worker.done():
        worker.cancel()
        worker.get_loop().call_later(0.01, _cancel_until_done, worker)


def make_pool(
    settings: Settings, sizes: Sizes, dialler: Dialler[Any], name: str
) -> AsyncConnectionPool[Any]:
    """Return a pool, not open yet, whose connections come from *dialler*."""
    return AsyncConnectionPool(
        connection_class=cast("Any", DialAdapter(dialler)),
        min_size=sizes.min_size,
        max_size=max(sizes.kept, 1),
        open=False,
        name=name,
        timeout=settings.timeout,
        max_lifetime=FOREVER,
        max_idle=settings.max_idle or SHRINK_EVERY,
        # A worker makes one connection at a time, for as long as it takes, and does little else:
        # returns don't need it, as rolling back and `reset` are done here.
        num_workers=settings.num_workers,
    )


def adopt(pool: AsyncConnectionPool[Any], conn: ManagedConnection) -> None:
    """Mark a connection as the pool marks those that it has made itself.

    Otherwise `async with conn` would close it, and the pool could not take it back.
    """
    conn._pool = pool  # noqa: SLF001  psycopg_pool has no other way to say so
    conn._created_at = monotonic()  # noqa: SLF001  the same
    conn._expire_at = float("inf")  # noqa: SLF001  the same; its age is checked here


async def replace_once_closed(
    pool: AsyncConnectionPool[Any], conn: ManagedConnection, timeout: float
) -> None:
    """Have a dropped connection replaced, when the task that uses it has met the error.

    As long as it is open, the pool would lend it again. It is closed after *timeout* seconds.
    """
    with suppress(TimeoutError):
        async with asyncio.timeout(timeout), conn.lock:
            pass
    conn.pgconn.finish()
    await pool.putconn(conn)
