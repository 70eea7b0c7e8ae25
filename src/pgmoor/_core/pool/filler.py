"""Makes the connections of one host's pool, as many as are wanted and no longer than they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from psycopg_pool import PoolClosed

from .demand import missing

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgmoor._core.connection.managed import ManagedConnection
    from pgmoor._core.dialling.dialler import Dialler
    from pgmoor._core.settings.settings import Settings

    from .ledger import Ledger
    from .lender import Lender
    from .psycopg_adapter import InnerPool
    from .tasks import PoolTasks


class FilledPool(Protocol):
    """The pool that is filled."""

    settings: Settings
    ledger: Ledger
    lender: Lender
    dialler: Dialler[ManagedConnection]
    inner: InnerPool
    tasks: PoolTasks
    ready: list[ManagedConnection]
    size: int
    serving: bool

    @property
    def in_use(self) -> bool:
        """Whether connections may be made for it."""

    def adopt(self, conn: ManagedConnection) -> None:
        """Make a new connection one of the pool's."""


class Filler:
    """Begins the dials of one pool. Minimum, growth and overflow are answers to one question.

    It does not hold the pool: one that was left is to go when its last connection has come back.
    """

    def __init__(self) -> None:
        self.dialling: int = 0

    def fill(self, pool: FilledPool) -> None:
        """Begin as many dials as are wanted now."""
        if pool.size + self.dialling >= pool.ledger.sizes.most or not pool.in_use:
            return
        waiting = 0 if pool.lender.pausing else pool.lender.waiting_for(pool)
        wanted = self._missing(pool, waiting)
        for _ in range(min(wanted, pool.settings.num_workers - self.dialling)):
            self.dialling += 1
            pool.tasks.spawn(self._dial(pool), "dial")

    def _missing(self, pool: FilledPool, waiting: int) -> int:
        return missing(
            pool.ledger.sizes,
            size=pool.size,
            dialling=self.dialling,
            ready=len(pool.ready),
            waiting=waiting,
            elsewhere=pool.ledger.held_elsewhere if pool.serving else 0,
        )

    async def _dial(self, pool: FilledPool) -> None:
        """Make one connection, unless it isn't wanted any more."""
        try:
            conn = await pool.inner.admit(await pool.dialler.dial(self._still_wanted(pool)))
        except PoolClosed:
            return
        finally:
            self.dialling -= 1
        pool.adopt(conn)
        pool.lender.place(conn)
        self.fill(pool)

    def _still_wanted(self, pool: FilledPool) -> Callable[[], bool]:
        """Return a function that tells before each attempt of one dial whether it is wanted.

        Callers who have come and gone since the last attempt count as one that waits: a dial keeps
        its backoff, and a server that has no room is not asked anew for each of them.
        """
        lender = pool.lender
        seen = lender.callers_so_far()

        def wanted() -> bool:
            nonlocal seen
            before, seen = seen, lender.callers_so_far()
            waiting = lender.waiting_for(pool)
            if seen != before and pool.serving:
                waiting = max(waiting, 1)
            self.dialling -= 1  # is this one wanted beside the others?
            try:
                return self._missing(pool, waiting) > 0
            finally:
                self.dialling += 1

        return wanted
