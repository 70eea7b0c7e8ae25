"""The idle connections of a pool: which has been silent longest, and pinging them."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pgmoor._core.connection.managed import ManagedConnection

    from .host_pool import HostPool


def oldest_idle(pool: HostPool) -> float | None:
    """Return since when nothing was heard of an idle connection (monotonic), at most, or None."""
    return min((conn.heard_at() for conn in pool.ready), default=None)


def take_idle_since(pool: HostPool, limit: float) -> ManagedConnection | None:
    """Take the idle connection of which nothing was heard for longest, if not since *limit*."""
    conn = min(pool.ready, key=lambda conn: conn.heard_at(), default=None)
    if conn is None or conn.heard_at() > limit:
        return None
    pool.ready.remove(conn)
    return conn


async def check_idle(pool: HostPool) -> None:
    """Ping every idle connection, one at a time; broken ones are replaced."""
    began = monotonic()
    while (conn := take_idle_since(pool, began)) is not None:
        try:
            await pool.verify(conn)
        finally:
            pool.lender.place(conn)
