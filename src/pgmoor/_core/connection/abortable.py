"""A connection that can be cut at any moment, and whose death is seen without a round trip.

Timers, cancellation and transactions stand on top of it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import struct
from contextvars import ContextVar
from time import monotonic
from typing import TYPE_CHECKING, Any, Self, TypeVar

from psycopg import AsyncConnection, errors, pq

from pgmoor._core.hosts.hearing import Hearing
from pgmoor._core.reporting.log_fields import fields
from pgmoor._core.util import forking
from pgmoor.errors import ConnectionAborted, RetrySafety, retry_safety

from .handshake import connecting
from .loss import note, safety_of_loss, statements_under_way, what_ended_it
from .polling import ENDED, poller
from .readiness import Readiness

if TYPE_CHECKING:
    from collections.abc import Callable

    from psycopg.abc import PQGen, PQGenConn
    from psycopg.pq.abc import PGconn

    from .owner import ConnectionOwner

RV = TypeVar("RV")
logger = logging.getLogger("pgmoor.connection")

ACTIVE = pq.TransactionStatus.ACTIVE
AT_REST, RUNNING = 0, 1  # IDLE and ACTIVE; a comparison with the enum's members costs more
INTRANS = pq.TransactionStatus.INTRANS
INERROR = pq.TransactionStatus.INERROR
UNKNOWN = pq.TransactionStatus.UNKNOWN
BAD = pq.ConnStatus.BAD
# What is done to the parameters that a `connect()` of the program's has left.
completion: ContextVar[Callable[[dict[str, Any]], None] | None] = ContextVar(
    "pgmoor_completion", default=None
)
RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # l_onoff, l_linger: drop what is not delivered


class AbortableConnection(AsyncConnection[Any]):
    """A psycopg connection whose socket can be cut from outside, whatever it is doing."""

    owner: ConnectionOwner | None = None
    hearing: Hearing = Hearing()  # of its host, once a pool has it

    def __init__(self, pgconn: PGconn, *args: Any, **kwargs: Any) -> None:
        super().__init__(pgconn, *args, **kwargs)
        self.abort_reason: tuple[str, str] | None = None  # host, reason
        self.loss: RetrySafety | None = None  # what became of the work, once the session is lost
        self._waiters = 0  # tasks that wait for its socket
        self._doomed = False  # to be closed by the last of them
        self.readiness: Readiness = Readiness()
        self.poll: Callable[[int], list[tuple[int, int]]] = poller(pgconn.socket)
        forking.register(self)

    @classmethod
    async def _get_connection_params(cls, conninfo: str, **kwargs: Any) -> dict[str, Any]:
        """Return libpq's parameters as `connect()` wants them, completed by whoever dials."""
        params: dict[str, Any] = await super()._get_connection_params(conninfo, **kwargs)
        if (complete := completion.get()) is not None:
            complete(params)
        return params

    @classmethod
    def _connect_gen(cls, conninfo: str = "") -> PQGenConn[Self]:
        """Connect so that a refusal carries its SQLSTATE; psycopg's `connect()` runs this."""
        return cls((yield from connecting(conninfo)))

    @property
    def host_label(self) -> str:
        """The host, as errors name it."""
        return self.owner.host_label if self.owner is not None else self.info.host

    @property
    def manager_name(self) -> str:
        """The manager, as logs name it; empty without an owner."""
        return self.owner.manager_name if self.owner is not None else ""

    def has_unread(self) -> bool:
        """Return whether something waits to be read: a FIN, a reset, a farewell, a notice.

        False for every healthy idle connection. Costs a microsecond and no round trip.
        """
        return bool(self.poll(0))

    def has_ended(self) -> bool:
        """Return whether its server has closed it, whatever else there is to read."""
        return any(events & ENDED for _, events in self.poll(0))

    async def close(self) -> None:
        """Close the connection."""
        self.readiness.stop()
        await super().close()  # of the user's class, perhaps, which may give it back instead
        if self.owner is not None and self.pgconn.status == BAD:
            self.owner.forget(self)

    def discard(self) -> None:
        """Close at once, without sending anything to a server that may not answer.

        A task that waits for the socket would wait for ever if it were closed. Then the socket is
        only cut, and that task closes it.
        """
        if self._waiters:
            self._doomed = True
            self.abort("the connection was dropped while a query was running")
        else:
            self._finish()
        if self.owner is not None:
            self.owner.forget(self)

    def abort(self, reason: str) -> None:
        """Cut the connection: whoever waits for an answer on it gets `ConnectionAborted`.

        Only the socket ends a query on a silent peer, and only shutdown() does so without closing
        a descriptor that the loop still watches. A statement that was sent but not received is
        taken back. Otherwise the kernel would deliver it when the network heals or the server
        thaws, and a stale primary would carry it out long after its caller has met the error.
        """
        if self.pgconn.status == BAD:
            return
        if self.abort_reason is None:
            self.abort_reason = (self.host_label, reason)
            if self.owner is not None:
                self.owner.aborted()
        raw = socket.socket(fileno=self.pgconn.socket)
        try:
            if self.pgconn.transaction_status == ACTIVE and self._drops_undelivered():
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
            raw.shutdown(socket.SHUT_RDWR)
        except OSError as error:
            host = self.host_label
            extra = fields("ShutdownFailed", self.manager_name, host=host, reason=str(error))
            logger.debug("shutdown of a connection to %s failed: %s", host, error, extra=extra)
        finally:
            raw.detach()

    def _drops_undelivered(self) -> bool:
        """Return whether what was sent and not delivered must not be delivered later."""
        return False

    def _disown(self) -> None:
        """Keep everything in a forked child from the server: the session is the parent's.

        A fork shares the socket. Whatever psycopg, libpq or a task that is cancelled at the child's
        exit may still write to it goes to another socket, which leads nowhere.
        """
        if self.pgconn.status != BAD:
            with socket.socket() as nowhere:
                os.dup2(nowhere.fileno(), self.pgconn.socket, inheritable=False)

    async def wait(self, gen: PQGen[RV], interval: float = 0.1, timeout: float | None = None) -> RV:
        """Run one of psycopg's generators; every query of this connection passes here."""
        self._waiters += 1
        before = self.pgconn.transaction_status
        came_before = before == RUNNING and self.has_unread()  # as rows do that nobody has read
        try:
            result = await self.readiness.drive(gen, self.pgconn.socket, interval, timeout)
        except asyncio.CancelledError:
            if self.pgconn.transaction_status == ACTIVE:
                await self._cancelled(gen)
            if self.pgconn.status == BAD or self._doomed:
                self.loss = self.loss or RetrySafety.UNKNOWN  # it may have been a COMMIT
                self._lost_silently(gen, before)
            raise
        except (KeyboardInterrupt, SystemExit):
            self.discard()
            raise
        except errors.Error as raised:
            error = self._explained(raised, before)
            if error is raised:
                raise
            raise error from raised
        else:
            if self.pgconn.status == BAD:  # psycopg has kept the error to itself
                self._lost_silently(gen, before)
                self._met(errors.OperationalError("the connection was lost"))
            elif self.readiness.waited and not came_before:  # else its server may be gone by now
                self._heard(result)
            return result
        finally:
            self._waiters -= 1
            self._close_if_lost()

    def _close_if_lost(self) -> None:
        """Leave the socket alone once the connection is lost; close it if that was put off."""
        if self.pgconn.status == BAD:
            self.readiness.stop()
        if self._doomed and not self._waiters:
            self._finish()

    def _heard(self, result: object) -> None:
        """Note an answer; what is only sent, in a COPY or a pipeline, is none."""
        if result is not None or self.pgconn.transaction_status != RUNNING:
            self.hearing.statement_at = monotonic()

    def _finish(self) -> None:
        self.readiness.stop()
        self.pgconn.finish()

    def _explained(self, raised: errors.Error, before: int) -> errors.Error:
        """Return the error that the caller gets; it says what became of the work."""
        error = raised
        if raised.sqlstate is not None and self.pgconn.status != BAD:  # a farewell may be old
            self.hearing.statement_at = monotonic()
        if self.pgconn.status == BAD:
            if raised.diag.severity_nonlocalized == "ERROR":  # it says nothing of the loss
                self._lost_silently(None, before)
            error = what_ended_it(raised)
            if self.loss is None:
                self.loss = self._safety_of_loss(raised, before)
            note(error, self.loss)
        self._met(error)
        if self.pgconn.status == BAD and self.abort_reason:
            return note(ConnectionAborted(*self.abort_reason), retry_safety(error))
        return error

    def _check_connection_ok(self) -> None:
        """Raise psycopg's error when the connection is closed; it tells what became of the work."""
        try:
            super()._check_connection_ok()
        except errors.Error as error:
            note(error, self.loss or RetrySafety.ROLLED_BACK)
            raise

    def _safety_of_loss(self, error: errors.Error, before: int) -> RetrySafety:
        """Return what a lost connection means for the work, from what was under way."""
        return safety_of_loss(
            in_transaction=before in (INTRANS, INERROR),
            was_lost=before == UNKNOWN,
            autocommit=self.autocommit,
            pipeline=self._pipeline is not None,
            sent=statements_under_way(error),
        )

    async def _cancelled(self, gen: PQGen[Any]) -> None:  # noqa: ARG002  a subclass goes on with it
        """Deal with a query whose task is being cancelled: drop the connection."""
        self.discard()

    def _lost_silently(self, gen: PQGen[Any] | None, before: int) -> None:
        """Deal with a session that was lost while *gen* ran, and nobody gets an error for that."""

    def _met(self, error: errors.Error) -> None:
        """Note an error of a query."""
