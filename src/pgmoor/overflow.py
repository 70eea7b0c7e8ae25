"""The connections beyond those that may lie idle: when one more is made, and which one is closed.

As in SQLAlchemy's QueuePool their number is limited and not which ones they are: whatever comes
back stays as long as fewer than `Sizes.kept` lie idle.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from .connection import ManagedConnection
    from .pool import HostPool

    Dial = Callable[[Callable[[], bool]], Awaitable[ManagedConnection]]


class Overflow:
    """Counts and makes the extra connections of one pool."""

    def __init__(self, pool: HostPool, dial: Dial) -> None:
        self.count = 0  # with those that are being made
        self.dials = 0  # of them: those that are being made
        self._pool = pool
        self._dial = dial

    def wanted(self, waiting: int) -> bool:
        """Return whether one more is to be made.

        That is when more callers wait than are being made, every connection that exists is held,
        among them all that may lie idle, and there is room. One that its holder has closed is held.
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
            conn = await self._dial(wanted)
        except BaseException:
            self.count -= 1
            raise
        finally:
            self.dials -= 1
        conn.extra = True
        self._as_if_from_the_pool(conn)
        return conn

    def _as_if_from_the_pool(self, conn: ManagedConnection) -> None:
        """Mark a connection as psycopg_pool marks those that it has made itself.

        Without it `async with conn` would close it, and psycopg_pool could not take it back.
        """
        conn._pool = self._pool.inner  # noqa: SLF001  psycopg knows no other way to say so
        conn._created_at = monotonic()  # noqa: SLF001  the same
        conn._expire_at = float("inf")  # noqa: SLF001  the same; its age is judged here

    def keep(self, conn: ManagedConnection) -> bool:
        """Take back an extra connection; return whether it stays in the place of one that is held.

        That one is the extra one from then on. False means that *conn* is to be closed.
        """
        if self._pool.reusable(conn):
            for other in self._pool.connections:
                if other.holder is not None and not other.extra:
                    other.extra, conn.extra = True, False
                    return True
        self.count -= 1
        return False
