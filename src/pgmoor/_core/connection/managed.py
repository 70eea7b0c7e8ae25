"""`ManagedConnection`: a connection that a manager lends.

It adds to `CancellableConnection` what its borrower relies on: an honest COMMIT, and `close()` that
may give it back.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from time import monotonic
from typing import TYPE_CHECKING, Any, Protocol
from weakref import ref

from psycopg import Rollback, errors, pq

from pgmoor._core.hosts.failures import OUTCOME_UNKNOWN, READ_ONLY_SQL_TRANSACTION
from pgmoor.errors import CommitOutcomeUnknown, ConnectionAborted, RetrySafety

from .abortable import AT_REST, BAD, RUNNING
from .cancellable import CancellableConnection
from .loss import note
from .users_class import mixed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from types import TracebackType
    from weakref import ReferenceType

    from psycopg import AsyncConnection, AsyncTransaction
    from psycopg.abc import PQGen
    from psycopg.pq.abc import PGconn

IDLE = pq.TransactionStatus.IDLE
INTRANS = pq.TransactionStatus.INTRANS
LEFT_OPEN = (
    "a stream or notifies() was left open in the block, which is not committed: read it to its end,"
    " or use contextlib.aclosing()"
)
MOST_READS = 64  # of what has arrived unasked: a server may send without end


class Unit(Protocol):
    """A unit of work, as its connection knows it."""

    read_only: bool


class ManagedConnection(CancellableConnection):
    """A psycopg connection that belongs to a manager's pool.

    Use it like any `psycopg.AsyncConnection`. If you cancel the task of a query, it has the server
    cancel the query before `CancelledError` reaches you, so the connection stays usable.
    """

    def __init__(self, pgconn: PGconn, *args: Any, **kwargs: Any) -> None:
        super().__init__(pgconn, *args, **kwargs)
        self.idle_since: float = monotonic()  # when it came back
        self.tested_at: float = 0.0  # when it last answered while it was idle
        self.expires_at: float = float("inf")
        self.generation = 0  # of its pool, when it was made; `drain()` begins another one
        self.holder: asyncio.Task[Any] | None = None  # the task that holds it
        self.held_since: float = 0.0
        self.lease = 0  # counts the checkouts, so that a late return is recognised
        self.reported = 0  # the lease that was reported as held too long
        self.farewell: errors.Error | None = None  # what the server said when it ended the session
        self.add_notice_handler(_farewell_to(ref(self)))
        self.unit: Unit | None = None  # the unit of work whose transaction this is
        self.server: object | None = None  # which run of which server it leads to, once asked

    def is_at_rest(self) -> bool:
        """Return whether nobody uses it: no transaction, no task inside, no pipeline."""
        return (
            self.pgconn.transaction_status == AT_REST
            and not self.lock.locked()
            and self._pipeline is None
        )

    @property
    def is_held_open(self) -> bool:
        """Whether something holds it and runs no statement: a stream or `notifies()` in use."""
        runs = self._waiters and self.pgconn.transaction_status == RUNNING
        return self.lock.locked() and not runs and self._pipeline is None

    @property
    def is_waited_for(self) -> bool:
        """Whether a task waits for something to arrive."""
        return self._waiters > 0

    async def unlocked(self) -> None:
        """Return when nothing holds it; close it and raise if that takes `cancel_timeout`.

        For the end of its holder's block. Whoever waits for a stream that this task itself has left
        waits for ever; asyncio closes one that nobody refers to any more.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(self.cancel_timeout), self.lock:
                return
        if self.is_held_open:
            self.discard()
            raise errors.ProgrammingError(LEFT_OPEN)

    def heard_at(self) -> float:
        """Return when the connection is last known to have worked (monotonic)."""
        return max(self.idle_since, self.tested_at)

    async def close(self) -> None:
        """Close the connection; with `close_returns`, return it to the pool instead."""
        self._forbid_in_unit("close()")
        self._forget_loss()  # what is lost now is meant to be
        if self.owner is not None and self.holder is not None and self.owner.close_returns:
            await self.owner.putconn(self)
            return
        await super().close()

    def _drops_undelivered(self) -> bool:
        return self.holder is not None

    def _met(self, error: errors.Error) -> None:
        """Tell the owner of an error that may be the host's."""
        broken = self.pgconn.status == BAD
        if self.owner is not None and (broken or error.sqlstate == READ_ONLY_SQL_TRANSACTION):
            self.owner.broke(self, error)

    # -- commit ------------------------------------------------------------------------------

    async def commit(self) -> None:
        """Commit; raise `CommitOutcomeUnknown` if the connection is lost during the COMMIT.

        If the session had ended before, it raises what ended it: nothing was committed.
        """
        self._forbid_in_unit("commit()")
        pending = self.pgconn.transaction_status == INTRANS
        if pending and not self._still_there():
            raise self._lost_before_commit()
        try:
            await super().commit()
        except errors.Error as error:
            if pending and self._outcome_unknown(error):
                raise _unknown(error) from error
            raise

    @asynccontextmanager
    async def transaction(
        self, savepoint_name: str | None = None, force_rollback: bool = False
    ) -> AsyncIterator[AsyncTransaction]:
        """Run a transaction block; raise `CommitOutcomeUnknown` when its COMMIT is cut off."""
        outermost = self.pgconn.transaction_status == IDLE
        if outermost:
            self._forbid_new_transaction()
        ended_well = False
        transaction: AsyncTransaction | None = None
        try:
            async with super().transaction(savepoint_name, force_rollback) as transaction:
                yield transaction
                lived = self.lost_unsaid or not self.closed
                ended_well = self._still_there()
                if lived and not ended_well:
                    if not force_rollback:
                        # psycopg would end the block well, although nothing was committed.
                        self._forget_loss()
                        raise self._lost_before_commit()
                    self._lost_work()  # of the block around this one
        except errors.Error as error:
            commits = ended_well and outermost and not force_rollback
            if commits and self._outcome_unknown(error):
                raise _unknown(error) from error
            raise
        except Rollback as error:
            if not self.broken or error.transaction not in (None, transaction):
                raise
            # psycopg would pass it on, as if the transaction around were to be rolled back.
            if not outermost:
                self._forget_loss()
                raise self._lost_before_commit() from error
        finally:
            if outermost:  # it has raised, or was to be rolled back
                self._forget_loss()

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End a block of the connection itself, as psycopg does."""
        if exc_type is None and self.lost_unsaid:
            await self.commit()  # it raises
        await super().__aexit__(exc_type, exc, traceback)

    async def rollback(self) -> None:
        """Roll back to the start of any pending transaction."""
        self._forbid_in_unit("rollback()")
        try:
            await super().rollback()
        finally:
            self._forget_loss()

    def _start_query(self) -> PQGen[None]:
        """Start a transaction if necessary; every statement of psycopg begins here."""
        if self.unit is not None and self.pgconn.transaction_status == IDLE:
            self._forbid_new_transaction()
        yield from super()._start_query()

    def _forbid_in_unit(self, what: str) -> None:
        if self.unit is not None:
            raise errors.ProgrammingError(
                f"don't call {what} here: run(), transaction() or retrying() commits when the block"
                " ends, and rolls back if it raises"
            )

    def _forbid_new_transaction(self) -> None:
        if self.unit is not None and not self.closed:
            raise errors.ProgrammingError(
                "a statement has ended the transaction of run(), transaction() or retrying():"
                " leave COMMIT and ROLLBACK to them, and use conn.transaction() for savepoints"
            )

    def _still_there(self) -> bool:
        """Return whether the session lives, as far as is known here; read what has arrived.

        A session that ended before COMMIT was sent has surely committed nothing.
        """
        if self._waiters:  # what arrives is the answer to another task, which would miss it
            return not self.closed and self.abort_reason is None
        for _ in range(MOST_READS):
            if self.closed or not self.has_unread():
                break
            with suppress(errors.OperationalError):
                self.pgconn.consume_input()
                self.pgconn.is_busy()  # takes in what was read
        if self.farewell is not None:
            self._finish()
        elif self.closed:
            self.readiness.stop()
        return not self.closed and self.abort_reason is None

    def _lost_before_commit(self) -> errors.Error:
        error: errors.Error
        if self.farewell is not None:
            error = self.farewell
        elif self.abort_reason is not None:
            error = ConnectionAborted(*self.abort_reason)
        else:
            error = errors.OperationalError("the connection was lost before COMMIT was sent")
        self._met(error)
        return note(error, self.loss or RetrySafety.ROLLED_BACK)

    def _outcome_unknown(self, error: errors.Error) -> bool:
        return self.closed or error.sqlstate in OUTCOME_UNKNOWN


def _farewell_to(
    connection: ReferenceType[ManagedConnection],
) -> Callable[[errors.Diagnostic], None]:
    """Return a handler that notes what the server says when it ends a session unasked.

    To libpq this is a notice. It may arrive behind the answer to a statement.
    """

    def note(notice: errors.Diagnostic) -> None:
        conn = connection()
        if conn is not None and notice.severity_nonlocalized in ("FATAL", "PANIC"):
            try:
                kind = errors.lookup(notice.sqlstate or "")
            except KeyError:
                kind = errors.OperationalError
            conn.farewell = kind(notice.message_primary or "the server ended the session")

    return note


def _unknown(error: Exception) -> CommitOutcomeUnknown:
    return CommitOutcomeUnknown(
        f"the connection was lost during COMMIT, which may have been carried out or not: {error}"
    )


def managed(connection_class: type[AsyncConnection[Any]]) -> type[ManagedConnection]:
    """Return a subclass of *connection_class* that is a `ManagedConnection`."""
    return mixed(ManagedConnection, connection_class)
