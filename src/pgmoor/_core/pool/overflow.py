"""Connections beyond those that may be idle: when one is made, and which one is closed.

As in SQLAlchemy's QueuePool, overflow is a count; no particular connection is "the overflow one".
A returned connection stays as long as fewer than `Sizes.kept` are idle.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from . import psycopg_adapter

if TYPE_CHECKING:
    from collections.abc import Callable

    from psycopg_pool import AsyncConnectionPool

    from pgmoor._core.connection.managed import ManagedConnection
    from pgmoor._core.dialling.dialler import Dialler
    from pgmoor._core.settings.settings import Settings
    from pgmoor._core.settings.sizes import Sizes


class OverflowingPool(Protocol):
    """The pool whose extra connections are counted."""

    settings: Settings
    sizes: Sizes
    connections: set[ManagedConnection]
    used: int
    dialler: Dialler[ManagedConnection]
    inner: AsyncConnectionPool[Any]


class Overflow:
    """Counts and makes the extra connections of one pool."""

    def __init__(self, pool: OverflowingPool) -> None:
        self.count: int = 0  # with those that are being made
        self.dials: int = 0  # those that are being made
        self._pool = pool

    def wanted(self, waiting: int) -> bool:
        """Return whether one more is to be made.

        That is when more callers wait than are being made, every connection is held, as many as may
        be idle exist, and there is room. One that its holder has closed counts as held.
        """
        pool, sizes = self._pool, self._pool.sizes
        return (
            waiting > self.dials
            and self.dials < pool.settings.num_workers
            and pool.used >= sizes.kept + self.count - self.dials
            and pool.used + self.dials < sizes.max_size + sizes.max_overflow
        )

    def reserve(self) -> None:
        """Count a connection that `make()` is going to make."""
        self.count += 1
        self.dials += 1

    async def make(self, wanted: Callable[[], bool]) -> ManagedConnection:
        """Make one that was reserved; raise `PoolClosed` when it isn't *wanted* any more."""
        try:
            conn: ManagedConnection = await self._pool.dialler.dial(wanted)
        except BaseException:
            self.count -= 1
            raise
        finally:
            self.dials -= 1
        conn.extra = True
        psycopg_adapter.adopt(self._pool.inner, conn)
        return conn

    def swap(self, conn: ManagedConnection) -> bool:
        """Have a returned extra connection stay in place of one that is held, if there is one.

        That one is the extra one from then on.
        """
        for other in self._pool.connections:
            if other.holder is not None and not other.extra:
                other.extra, conn.extra = True, False
                return True
        return False
