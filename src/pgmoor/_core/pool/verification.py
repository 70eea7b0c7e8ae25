"""Whether a connection works, by a round trip or the user's `check`; and bringing one to rest."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from psycopg import errors

from pgmoor._core.connection.abort_timer import abort_after
from pgmoor._core.connection.abortable import BAD
from pgmoor._core.connection.bounded_read import ping
from pgmoor._core.connection.managed import IDLE, ManagedConnection
from pgmoor._core.hosts.failures import Failure, FailureKind
from pgmoor._core.reporting.log_fields import fields
from pgmoor._core.util.hooks import call_hook, how_it_failed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from pgmoor._core.hosts.host import Host
    from pgmoor._core.settings.settings import Settings
    from pgmoor._core.state.evidence import Evidence

logger = logging.getLogger("pgmoor.pool")

IN_TRANSACTION = ("INTRANS", "INERROR")
CHECK_GRACE = 0.2  # seconds: more than a timer takes that fires late


class Verifier:
    """Tests and resets the connections of one host."""

    def __init__(
        self,
        settings: Settings,
        host: Host,
        evidence: Evidence,
        *,
        check: Callable[[Any], Awaitable[None]] | None,
        reset: Callable[[Any], Awaitable[None]] | None,
    ) -> None:
        self._settings = settings
        self._host = host
        self._evidence = evidence
        self._check = check
        self._reset = reset

    async def verify(self, conn: ManagedConnection, limit: float) -> bool:
        """Return whether a connection works, within *limit* seconds; one that doesn't is dropped.

        Raises `TimeoutError`, with the connection dropped, when there is no answer.
        """
        try:
            if self._check is None or conn.has_unread():
                await ping(conn, limit)
            if self._check is not None:
                await self._run_check(self._check, conn, limit)
        except TimeoutError:
            conn.discard()
            raise
        except errors.Error:
            return False
        finally:
            if conn.pgconn.transaction_status != IDLE:
                conn.discard()
        return conn.pgconn.status != BAD

    async def _run_check(
        self, check: Callable[[Any], Awaitable[None]], conn: ManagedConnection, limit: float
    ) -> None:
        with abort_after(conn, limit, f"`check` took longer than {limit:g} s") as timer:
            try:
                async with asyncio.timeout(limit + CHECK_GRACE):  # it may wait for something else
                    await call_hook("check", check, conn)
                    if conn.pgconn.transaction_status != IDLE:
                        await conn.rollback()
            except Exception as error:  # noqa: BLE001  `check` is the user's
                if timer.expired:
                    raise TimeoutError from None
                self._check_failed(conn, error)

    def _check_failed(self, conn: ManagedConnection, error: Exception) -> None:
        """Drop a connection that failed the user's `check`; report it if it was a new one."""
        reason = how_it_failed("check", error)
        logger.info(
            "dropping a connection to %s: %s",
            self._host,
            reason,
            extra=fields("CheckFailed", self._settings.name, host=self._host.label, reason=reason),
        )
        if conn.lease == 0 and conn.pgconn.status != BAD:
            self._evidence.dial_failed(self._host, Failure(FailureKind.OTHER, reason))
        conn.discard()

    async def reset(self, conn: ManagedConnection) -> None:
        """Roll back a returned connection and run the user's `reset`, in bounded time.

        One that is not idle afterwards is dropped.
        """
        limit = self._settings.cancel_timeout
        if conn.is_held_open and not conn.is_waited_for:
            with suppress(errors.ProgrammingError):
                await conn.unlocked()
        problem = _left_open(conn)
        try:
            if problem is None:
                async with asyncio.timeout(2 * limit) as timer:
                    with abort_after(conn, limit, f"no answer to a rollback within {limit:g} s"):
                        await self._bring_to_rest(conn)
        except Exception as error:  # noqa: BLE001  `reset` is the user's and may raise anything
            took = f"it was not reset within {2 * limit:g} s (twice cancel_timeout)"
            problem = took if timer.expired() else how_it_failed("reset", error)
        if problem is None and conn.pgconn.status != BAD and not conn.is_at_rest():
            problem = "`reset` left a transaction open"
        if problem is not None:
            self.drop(conn, problem)

    def drop(self, conn: ManagedConnection, reason: str) -> None:
        """Close a connection that can't be lent again, and log why."""
        logger.warning(
            "dropping a returned connection to %s: %s",
            self._host,
            reason,
            extra=fields(
                "ConnectionDropped", self._settings.name, host=self._host.label, reason=reason
            ),
        )
        conn.discard()

    async def _bring_to_rest(self, conn: ManagedConnection) -> None:
        status = conn.info.transaction_status.name
        if status == "ACTIVE":
            conn.abort("it was returned while a query was running")
            async with conn.lock:  # until that query's task has met the error
                return
        if status in IN_TRANSACTION:
            await conn.rollback()
        if self._reset is not None and conn.pgconn.transaction_status == IDLE:
            await call_hook("reset", self._reset, conn)


def warn_of_rollback(conn: ManagedConnection) -> None:
    """Log that a holder gives a connection back in a transaction; as psycopg_pool does.

    Not for the end of a block that raises: it is to roll back.
    """
    status = conn.info.transaction_status.name
    if status in IN_TRANSACTION:
        host, task = conn.host_label, conn.holder.get_name() if conn.holder else ""
        logger.warning(
            "a connection to %s was returned in a transaction (%s) by %s; rolling it back",
            host,
            status,
            task,
            extra=fields("RolledBack", conn.manager_name, host=host, status=status, task=task),
        )


def _left_open(conn: ManagedConnection) -> str | None:
    """Return what a borrower has left open that can't be brought to an end, if anything."""
    if conn._pipeline is not None:  # noqa: SLF001  psycopg has no other way to say so
        return "its pipeline was not closed"
    if conn.is_held_open:
        return "a task still uses it, or a stream or notifies() was not closed"
    return None
