"""A unit of work: one transaction, tried until it has happened once, within one deadline."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING

from psycopg import Rollback, errors

from pgmoor._core.connection.loss import note
from pgmoor._core.util.backoff import delays
from pgmoor.errors import CommitOutcomeUnknown, RetrySafety, TransactionTimeout

from .limit import Limit
from .transaction import Transaction
from .verdict import Fate, Next, after

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgmoor._core.connection.managed import ManagedConnection
    from pgmoor._core.pool.checkout import Checkout

    from .resolver import Resolver
    from .retry import Budget, Retry
    from .statements import Modes

Task = asyncio.Task[object]
LONGEST = 1e9  # seconds


class Circumstances:
    """What the units of one manager share."""

    def __init__(
        self,
        checkout: Callable[[float], Checkout[ManagedConnection]],
        resolver: Resolver,
        budget: Budget,
        patience: float,
        writes: Callable[[], bool],
    ) -> None:
        self.checkout = checkout
        self.resolver = resolver
        self.budget = budget
        self.patience = patience  # seconds to wait for a server, for work without a limit
        self.writes = writes  # whether the manager looks for hosts that can write
        self.units: dict[Task, Unit] = {}  # by the task that is inside


class Unit:
    """Tries a transaction: `enter()` begins an attempt, `leave()` ends it and says what follows."""

    def __init__(
        self,
        shared: Circumstances,
        modes: Modes,
        retry: Retry,
        timeout: float | None,
        key: str | None = None,
    ) -> None:
        self.done = False
        self.attempts = 0
        self.transaction: Transaction
        self.repeatable = True  # whether the work can be carried out again after the attempt
        self.owed = False  # whether the loop is to ask for another attempt
        self._shared = shared
        self._modes = modes
        self._retry = retry
        self._timeout = LONGEST if timeout is None else timeout
        self._key = key
        self._deadline = monotonic() + self._timeout
        self._waits = delays(retry.backoff_base, retry.backoff_cap)
        self._conn: ManagedConnection | None = None
        self._unresolved: BaseException | None = None  # of an attempt that may have committed
        self._last: BaseException | None = None  # the error of the attempt before

    # -- an attempt ----------------------------------------------------------------------------

    async def enter(self) -> ManagedConnection:
        """Return a connection on which the transaction has begun; repeat until one has."""
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        if task in self._shared.units:
            raise RuntimeError(
                "this task is in a transaction of the same manager already: pass its connection on,"
                " and use conn.transaction() for a savepoint"
            )
        while True:
            self.attempts += 1
            self.transaction = Transaction(self._modes, self._key)
            try:
                conn = await self._begin()
            except Exception as error:  # noqa: BLE001  what it is decides what follows
                lost = self._conn is not None and is_lost(self._conn)
                await self._survive(error, lost=lost, committing=False)
                continue
            if self._key is not None:
                self._unresolved = None  # the key was free: no earlier attempt has committed
            self._shared.units[task] = self
            return conn

    async def _begin(self) -> ManagedConnection:
        self._conn = None
        self._checkout = self._shared.checkout(self._left_to_wait())
        self._conn = conn = await self._checkout.__aenter__()
        conn.readiness.stays = True
        try:
            self._limit = Limit(self._task, max(self._left(), 0))
            try:
                await self.transaction.begin(conn)
            except BaseException as error:
                self._limit.stop()
                if self._limit.ended(error):
                    raise self._late() from self._last
                raise
        except BaseException as error:
            await self._give_back(error)
            raise
        return conn

    async def leave(self, error: BaseException | None) -> bool:
        """End an attempt whose block has ended, with *error* or without.

        Commits, or rolls back. Returns True if the unit is `done` or is to be entered again, False
        if *error* is to be raised. Raises what is to be raised in its place.
        """
        conn = self._conn
        assert conn is not None
        self._shared.units.pop(self._task, None)
        limit = self._limit
        outcome = self._late() if limit.ended(error) else error
        committing = outcome is None
        try:
            if outcome is None:
                limit.commits(conn)
                await self.transaction.commit(conn)
        except Exception as failure:  # noqa: BLE001  what it is decides what follows
            outcome = failure
        except BaseException as failure:
            limit.stop()
            await self._give_back(failure)
            raise
        limit.stop()
        await self._give_back(outcome)
        if outcome is None:
            self._shared.budget.deposit()
            self.done = True
        elif isinstance(outcome, Rollback):
            self.done = True
        elif isinstance(outcome, Exception):
            try:
                await self._survive(outcome, lost=is_lost(conn), committing=committing)
            except Exception as final:
                if final is error:
                    return False
                raise
        else:
            return False
        return True

    async def _give_back(self, error: BaseException | None) -> None:
        conn = self._conn
        assert conn is not None
        conn.unit = None
        conn.readiness.release()
        if error is None:
            await self._checkout.__aexit__(None, None, None)
        else:
            await self._checkout.__aexit__(type(error), error, error.__traceback__)

    def _late(self) -> TransactionTimeout:
        late = TransactionTimeout(self._timeout, self.attempts)
        late.__cause__ = self._last
        return late

    def _left(self) -> float:
        return self._deadline - monotonic()

    def _left_to_wait(self) -> float:
        """Return how long to wait for a server, in seconds: work may be without a limit."""
        limited = self._timeout < LONGEST
        return max(self._left(), 0.001) if limited else self._shared.patience

    # -- what follows --------------------------------------------------------------------------

    async def _survive(self, error: Exception, *, lost: bool, committing: bool) -> None:
        """Deal with the error of an attempt: return when it is done or to be repeated, or raise."""
        what = after(
            error, self._retry, lost=lost, committing=committing, writes=self._expects_writes()
        )
        if what is Next.RAISE:
            raise self._final(error)
        if what is Next.RESOLVE:
            fate = await self._resolve()
            if fate is Fate.COMMITTED:
                if not committing:
                    raise error  # the block has committed by itself, and did not reach its end
                self._shared.budget.deposit()
                self.done = True
                return
            if fate is Fate.ROLLED_BACK:
                error = _rolled_back(error)
            elif self._key is None and not self._retry.idempotent:
                raise error
            else:
                self._unresolved = error
        await self._pause(error)

    async def _resolve(self) -> Fate:
        if self.transaction.read_only:
            return Fate.ROLLED_BACK  # there was nothing to commit
        deadline = monotonic() + self._left_to_wait()
        return await self._shared.resolver.resolve(self.transaction, deadline)

    async def _pause(self, error: Exception) -> None:
        """Wait before the next attempt; raise *error* if there must not be one."""
        self._last = error
        last = self._retry.attempts is not None and self.attempts >= self._retry.attempts
        delay = next(self._waits)
        late = last or self._left() <= delay or not self.repeatable
        if late or not self._shared.budget.take(self._retry):
            raise self._final(error)
        await asyncio.sleep(delay)

    def _final(self, error: Exception) -> Exception:
        """Return what to raise for the last attempt's error."""
        earlier = self._unresolved
        if earlier is None or earlier is error or not isinstance(error, errors.Error):
            return error
        unknown = CommitOutcomeUnknown(
            f"{earlier}; it could not be repeated either: {type(error).__name__}: {error}"
        )
        unknown.__cause__ = error
        return unknown

    def _expects_writes(self) -> bool:
        return self._modes.readonly is not True and self._shared.writes()


def _rolled_back(error: Exception) -> errors.OperationalError:
    found = errors.OperationalError(
        f"the connection was lost during COMMIT, and the server has rolled back: {error}"
    )
    found.__cause__ = error
    return note(found, RetrySafety.ROLLED_BACK)


def is_lost(conn: ManagedConnection) -> bool:
    """Return whether a connection is closed, or was cut and does not know yet."""
    return conn.closed or conn.abort_reason is not None
