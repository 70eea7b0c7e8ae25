"""One connection: its liveness, its deadlines, how it is aborted, and what cancellation does to it.

Which host it goes to and how often a dial is tried is the business of `dial`.
"""

from __future__ import annotations

import asyncio
import logging
import os
import select
import socket
import struct
import traceback
import weakref
from contextlib import asynccontextmanager, suppress
from time import monotonic
from types import MethodType
from typing import TYPE_CHECKING, Any, TypeVar

from psycopg import AsyncConnection, errors, pq, waiting

from .answer import NoAnswer, read_answer
from .errors import CommitOutcomeUnknown, ConnectionAborted
from .fuse import Fuse
from .logs import fields
from .settle import settle
from .sqlstate import OUTCOME_UNKNOWN, READ_ONLY_SQL_TRANSACTION

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from psycopg import AsyncTransaction
    from psycopg.abc import PQGen
    from psycopg.pq.abc import PGconn, PGresult

    from .dial import Dialler
    from .pool import HostPool

RV = TypeVar("RV")
logger = logging.getLogger("pgmoor.connection")

ACTIVE = pq.TransactionStatus.ACTIVE
IDLE = pq.TransactionStatus.IDLE
INTRANS = pq.TransactionStatus.INTRANS
BAD = pq.ConnStatus.BAD
FATAL = pq.ExecStatus.FATAL_ERROR
RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # l_onoff, l_linger: no time for what is not delivered


class ManagedConnection(AsyncConnection[Any]):
    """A psycopg connection that belongs to a manager's pool.

    It is used like any `psycopg.AsyncConnection`. A query whose task is cancelled is settled with
    the server before `CancelledError` goes on, so that the connection can be used further.
    """

    cancel_timeout: float = 0.0  # seconds; set when a pool adopts the connection
    host_pool: HostPool | None = None

    def __init__(self, pgconn: PGconn, *args: Any, **kwargs: Any) -> None:
        super().__init__(pgconn, *args, **kwargs)
        self.abort_reason: tuple[str, str] | None = None  # host, reason
        self.idle_since = monotonic()
        self.expires_at = float("inf")
        self.generation = 0
        self.counted_idle = False  # it lies in the pool, and HostPool.idle counts it
        self.extra = False  # it is closed when it comes back and nobody waits
        self.holder: asyncio.Task[Any] | None = None  # who has it; None while nobody does
        self.held_since = 0.0
        self.lease = 0  # counts the checkouts, so that a late return is known as such
        self.reported = 0  # the lease that was reported as held too long
        self._waiters = 0  # tasks that wait for its socket
        self._doomed = False
        self.on_trouble: Callable[[ManagedConnection, errors.Error], None] | None = None
        poller = select.poll()
        poller.register(pgconn.socket, select.POLLIN)
        self.poll = poller.poll
        _living.add(self)

    @classmethod
    async def connect(  # type: ignore[override]
        cls, conninfo: str = "", *, dialler: Dialler | None = None, **kwargs: Any
    ) -> ManagedConnection:
        """Connect; with a *dialler*, as the pool calls it, by that one's rules."""
        if dialler is not None:
            return await dialler.dial(cls)
        connect: Any = super().connect
        if connect.__self__ is not cls:
            # What OpenTelemetry's uninstrument() leaves behind makes connections of the base class.
            connect = MethodType(connect.__func__, cls)
        try:
            conn: ManagedConnection = await connect(conninfo, **kwargs)
        except BaseException as error:
            # The frames of a dial that is cut short hold its socket, and are held by the error: it
            # would stay open until the garbage is collected.
            traceback.clear_frames(error.__traceback__)
            raise
        return conn

    async def close(self) -> None:
        """Close the connection, or give it back where `close_returns` says so (psycopg_pool)."""
        pool = self.host_pool
        if pool is not None:
            if self.holder is not None and pool.close_returns:
                await pool.give_back(self)
                return
            pool.forget(self)
        await super().close()

    def discard(self) -> None:
        """Close at once, without a word to a server that may not listen.

        While a task waits for the socket, closing it would leave that task waiting for good, so
        the socket is only cut, and closed by that task.
        """
        if self.host_pool is not None:
            self.host_pool.forget(self)
        if self._waiters:
            self._doomed = True
            self.abort(self.host_label, "the connection was dropped while a query was running")
        else:
            self.pgconn.finish()

    def abort(self, host: str, reason: str) -> None:
        """Cut the connection: whoever waits for an answer on it gets `ConnectionAborted`.

        Only the socket ends a query on a silent peer, and only shutdown() does so without
        closing a descriptor that the loop still watches. What a caller has sent and the server has
        not received is taken back: the kernel would deliver it when the network heals or the server
        thaws, and an old primary would carry it out, long after its caller has met the error.
        """
        if self.pgconn.status == BAD:
            return
        if self.abort_reason is None:
            self.abort_reason = (host, reason)
            if self.host_pool is not None:
                self.host_pool.aborted()
        raw = socket.socket(fileno=self.pgconn.socket)
        try:
            if self.holder is not None and self.pgconn.transaction_status == ACTIVE:
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
            raw.shutdown(socket.SHUT_RDWR)
        except OSError as error:
            extra = fields("ShutdownFailed", self.manager_name, host=host, reason=str(error))
            logger.debug("shutdown of a connection to %s: %s", host, error, extra=extra)
        finally:
            raw.detach()

    def disown(self) -> None:
        """Let nothing that happens in this process reach the server: the parent's session is on it.

        A fork shares the socket. Whatever a task that is cancelled at the child's exit, psycopg or
        libpq may still write to it or do to it meets another one, which leads nowhere.
        """
        self.cancel_timeout = 0.0  # no request to cancel what the parent runs
        if self.pgconn.status != BAD:
            with socket.socket() as nowhere:
                os.dup2(nowhere.fileno(), self.pgconn.socket, inheritable=False)

    @property
    def host_label(self) -> str:
        """How errors name the host: by its place in the list, where the connection has a pool."""
        return self.host_pool.host.label if self.host_pool is not None else self.info.host

    @property
    def manager_name(self) -> str:
        """Whose connection it is, for the logs; empty where it has no pool."""
        return self.host_pool.settings.name if self.host_pool is not None else ""

    def quiet(self) -> bool:
        """Return whether nothing waits to be read: no farewell, no FIN, no reset, no notice.

        True of every healthy idle connection; costs a microsecond and no round trip.
        """
        return not self.poll(0)

    # -- waiting, cancellation and what errors mean ---------------------------------------------

    async def wait(self, gen: PQGen[RV], interval: float = 0.1, timeout: float | None = None) -> RV:
        """Run one of psycopg's generators; every query of this connection passes here."""
        self._waiters += 1
        try:
            return await waiting.wait_async(
                gen, self.pgconn.socket, interval=interval, timeout=timeout
            )
        except asyncio.CancelledError:
            if self.pgconn.transaction_status == ACTIVE:
                await settle(self, gen)
            raise
        except (KeyboardInterrupt, SystemExit):
            self.discard()
            raise
        except errors.Error as error:
            broken = self.pgconn.status == BAD
            if self.on_trouble and (broken or error.sqlstate == READ_ONLY_SQL_TRANSACTION):
                self.on_trouble(self, error)
            if broken and self.abort_reason:
                raise ConnectionAborted(*self.abort_reason) from error
            raise
        finally:
            self._waiters -= 1
            if self._doomed and not self._waiters:
                self.pgconn.finish()

    # -- commit ------------------------------------------------------------------------------

    async def commit(self) -> None:
        """Commit; raise `CommitOutcomeUnknown` when the connection dies on the way."""
        pending = self._still_there() and self.pgconn.transaction_status == INTRANS
        try:
            await super().commit()
        except errors.OperationalError as error:
            if pending and self._outcome_unknown(error):
                raise _unknown(error) from error
            raise

    @asynccontextmanager
    async def transaction(
        self, savepoint_name: str | None = None, force_rollback: bool = False
    ) -> AsyncIterator[AsyncTransaction]:
        """Run a transaction block; raise `CommitOutcomeUnknown` when its COMMIT is cut off."""
        outermost = self.pgconn.transaction_status == IDLE
        ended_well = False
        try:
            async with super().transaction(savepoint_name, force_rollback) as transaction:
                yield transaction
                lived = not self.closed
                ended_well = self._still_there()
                if lived and not ended_well and not force_rollback:
                    # psycopg would end the block without a word, and nothing would be committed.
                    raise self._lost_before_commit()
        except errors.OperationalError as error:
            commits = ended_well and outermost and not force_rollback
            if commits and self._outcome_unknown(error):
                raise _unknown(error) from error
            raise

    def _still_there(self) -> bool:
        """Return whether the session lives, as far as is known here; reads what has arrived.

        A session that ended before COMMIT was sent has committed nothing, and that is known.
        """
        if not self.closed and not self.quiet():
            with suppress(errors.OperationalError):
                self.pgconn.consume_input()
        return not self.closed

    def _lost_before_commit(self) -> errors.OperationalError:
        if self.abort_reason is not None:
            return ConnectionAborted(*self.abort_reason)
        return errors.OperationalError("the connection was lost before COMMIT was sent")

    def _outcome_unknown(self, error: errors.Error) -> bool:
        return self.closed or error.sqlstate in OUTCOME_UNKNOWN

    # -- asking ------------------------------------------------------------------------------

    async def ask(self, statement: bytes, timeout: float, why: str) -> list[PGresult]:
        """Send a statement outside any transaction, and return its results.

        Raises `TimeoutError` after *timeout* seconds, with the connection cut, and psycopg's error
        when the server reports one. Never hangs: the socket is cut by a timer.
        """
        fuse = Fuse(self, timeout, why)
        try:
            with fuse:
                async with self.lock:
                    self.pgconn.send_query(statement)
                    results: list[PGresult] = await self.wait(read_answer(self.pgconn))
        except NoAnswer:
            self.discard()  # more of it may be on the way
            raise
        except errors.Error:
            if fuse.burnt:
                raise TimeoutError(why) from None
            raise
        for result in results:
            if result.status == FATAL:
                raise errors.error_from_result(result, encoding=self.info.encoding)
        return results

    async def ping(self, timeout: float) -> None:
        """Make one round trip; raise within *timeout* seconds when there is no answer."""
        await self.ask(b"", timeout, f"no answer to a ping within {timeout:g} s")


_living: weakref.WeakSet[ManagedConnection] = weakref.WeakSet()


def _after_fork() -> None:
    for conn in tuple(_living):
        conn.disown()
    _living.clear()


os.register_at_fork(after_in_child=_after_fork)


def _unknown(error: Exception) -> CommitOutcomeUnknown:
    return CommitOutcomeUnknown(
        f"the connection was lost during COMMIT, which may have been carried out or not: {error}"
    )


def managed(connection_class: type[AsyncConnection[Any]]) -> type[ManagedConnection]:
    """Return *connection_class* with a managed connection's abilities."""
    if issubclass(connection_class, ManagedConnection):
        return connection_class
    if connection_class is AsyncConnection:
        return ManagedConnection
    name = f"Managed{connection_class.__name__}"
    return type(name, (ManagedConnection, connection_class), {})
