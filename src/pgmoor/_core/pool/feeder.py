"""Brings connections to the callers who wait: returned ones, new ones, and overflow."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

from psycopg_pool import PoolClosed, PoolTimeout

from .fate import Fate
from .waiters import WaiterQueue

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgmoor._core.connection.managed import ManagedConnection

    from .host_pool import HostPool

PATIENCE = 3600.0  # seconds; the feeder waits for as long as callers do


class Feeder:
    """Serves the waiting callers from the pool in use."""

    def __init__(self) -> None:
        self.pool: HostPool | None = None
        self.waiting: WaiterQueue = WaiterQueue()
        self._waiters = self.waiting.waiters  # empty while nobody waits

    def serve_from(self, pool: HostPool | None) -> None:
        """Serve callers from *pool* from now on."""
        self.pool = pool
        self.feed()

    async def place(self, pool: HostPool, conn: ManagedConnection) -> None:
        """Hand a connection that was not lent to the first waiter, or put it into its pool.

        Never suspends.
        """
        now = monotonic()
        await self.place_by_fate(pool, conn, pool.fate(conn, now, returned=False), now)

    async def place_by_fate(
        self, pool: HostPool, conn: ManagedConnection, fate: Fate, now: float
    ) -> None:
        """Do what `place()` does, for a fate that was asked for at *now*."""
        if (
            fate is Fate.REUSE
            and self._waiters
            and pool is self.pool
            and self.waiting.hand_over(conn)
        ):
            return
        pending = pool.put(conn, fate, now)
        if pending is not None:
            await pending
        if conn.extra:
            self.feed()  # there is room for another

    def feed(self) -> None:
        """See to it that somebody brings connections to those who wait."""
        pool = self.pool
        if pool is None or not self._waiters or pool.retired_because is not None:
            return
        if pool.feeder is None and pool.sizes.kept:
            pool.feeder = pool.tasks.spawn(self._bring(pool), "feeder")
        self.overflow(pool)

    def overflow(self, pool: HostPool) -> None:
        """Begin to make as many extra connections as are wanted."""
        while pool.overflow.wanted(len(self._waiters)):
            pool.overflow.reserve()
            pool.tasks.spawn(self._bring_extra(pool), "overflow")

    async def _bring(self, pool: HostPool) -> None:
        """Take connections out of the pool for those who wait; that makes the pool grow."""
        try:
            while self._waiters and pool is self.pool:
                try:
                    conn = await pool.take(PATIENCE)
                except PoolTimeout:
                    continue
                except PoolClosed:
                    return
                if pool is not self.pool or not self.waiting.hand_over(conn):
                    await self.place(pool, conn)
        finally:
            pool.feeder = None
            self.feed()

    async def _bring_extra(self, pool: HostPool) -> None:
        """Make one extra connection for those who wait, unless nobody does any more."""
        try:
            conn = await pool.overflow.make(self._still_waiting())
        except PoolClosed:
            return
        await self.place(pool, conn)
        self.feed()

    def _still_waiting(self) -> Callable[[], bool]:
        """Return a function that tells whether anybody has waited since it was last called.

        A dial that fails and is tried again keeps its backoff while callers come and go.
        """
        seen = self.waiting.added

        def still_waiting() -> bool:
            nonlocal seen
            before, seen = seen, self.waiting.added
            return bool(self._waiters) or seen != before

        return still_waiting
