"""The idle connections of a pool: which has been idle longest, and pinging them."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

from psycopg_pool import PoolClosed, PoolTimeout

if TYPE_CHECKING:
    from pgmoor._core.connection.managed import ManagedConnection

    from .host_pool import HostPool


def oldest_idle(pool: HostPool) -> float | None:
    """Return since when the longest idle connection has been so (monotonic), or None."""
    return min((conn.idle_since for conn in pool.connections if conn.holder is None), default=None)


async def take_idle_since(pool: HostPool, limit: float) -> ManagedConnection | None:
    """Take a connection that has been idle since before *limit*, or None. Never waits long."""
    oldest = oldest_idle(pool)
    if pool.retired_because is not None or oldest is None or oldest > limit:
        return None
    if pool.ready and pool.ready[0].idle_since <= limit:
        return pool.ready.pop(0)
    if not pool.inner.get_stats()["pool_available"]:
        return None  # it is on its way to or from a holder
    try:
        conn: ManagedConnection = await pool.take_stored(0.01)
    except (PoolClosed, PoolTimeout):
        return None
    if conn.idle_since > limit:
        await pool.put_unused(conn)
        return None
    return conn


async def check_idle(pool: HostPool) -> None:
    """Ping every idle connection, one at a time; broken ones are replaced."""
    began = monotonic()
    while (conn := await take_idle_since(pool, began)) is not None:
        try:
            await pool.verify(conn)
        finally:
            await pool.put_unused(conn)
