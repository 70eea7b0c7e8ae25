"""Finds out what became of a transaction whose COMMIT was not answered."""

from __future__ import annotations

import asyncio
import logging
from time import monotonic
from typing import TYPE_CHECKING

from psycopg import errors, pq

from pgmoor._core.connection.abort_timer import abort_after
from pgmoor._core.connection.bounded_read import exchange, failure
from pgmoor._core.reporting.log_fields import fields
from pgmoor._core.util.backoff import delays
from pgmoor.errors import ManagerClosed

from .statements import IN_THE_FUTURE, MALFORMED, ask_fate, end_session, parse_server, row_of
from .transaction import confirm
from .verdict import Fate, fate_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pgmoor._core.connection.managed import ManagedConnection
    from pgmoor._core.pool.checkout import Checkout
    from pgmoor.instruments import Instrument

    from .transaction import Transaction

logger = logging.getLogger("pgmoor.work")

LATE = "the server did not tell the outcome of a transaction in time"
BASE, CAP = 0.01, 0.2  # seconds between questions


class Resolver:
    """Asks the server in use, on connections of the pool, until it can tell."""

    def __init__(
        self,
        name: str,
        checkout: Callable[[float], Checkout[ManagedConnection]],
        answer_timeout: float,
        instruments: Sequence[Instrument],
    ) -> None:
        self._instruments = instruments
        self._name = name
        self._answer_timeout = answer_timeout  # for one question; then another connection is asked
        self._checkout = checkout

    async def resolve(self, transaction: Transaction, deadline: float) -> Fate:
        """Return what became of a transaction; `UNDECIDED` if nobody can tell by *deadline*.

        Connections that break meanwhile, and hosts that change, begin the question again.
        """
        fate = Fate.UNDECIDED
        if transaction.xid is not None:
            waits = delays(BASE, CAP)
            while (left := deadline - monotonic()) > 0:
                try:
                    fate = await self._ask(transaction, transaction.xid, left)
                except ManagerClosed:
                    break
                except errors.Error as error:
                    extra = fields("ResolveFailed", self._name, reason=type(error).__name__)
                    logger.debug("resolving a COMMIT failed: %s", type(error).__name__, extra=extra)
                    fate = Fate.RUNNING
                if fate is not Fate.RUNNING:
                    break
                await asyncio.sleep(min(next(waits), max(deadline - monotonic(), 0)))
        if fate is Fate.RUNNING:
            fate = Fate.UNDECIDED
        outcome = fate.name.lower().replace("_", " ")
        for instrument in self._instruments:
            instrument.resolved(fate.name.lower())
        extra = fields("CommitResolved", self._name, outcome=outcome)
        logger.info("outcome of an unanswered COMMIT: %s", outcome, extra=extra)
        return fate

    async def _ask(self, transaction: Transaction, xid: int, seconds: float) -> Fate:
        async with self._checkout(seconds) as conn:
            with abort_after(conn, min(seconds, self._answer_timeout), LATE):
                fate = await _fate(conn, transaction, xid)
                if fate is Fate.RUNNING:
                    # Its server may not know yet that the client is gone, and wait for the COMMIT.
                    await exchange(conn, end_session(xid, transaction.pid))
            if fate is Fate.COMMITTED:  # a standby may keep this waiting for longer
                with abort_after(conn, seconds, LATE):
                    await confirm(conn)
        return fate


async def _fate(conn: ManagedConnection, transaction: Transaction, xid: int) -> Fate:
    identity, *rest = await exchange(conn, ask_fate(xid))
    row = row_of(identity)
    if not row:
        raise failure(conn, identity)
    server, _ = parse_server(row[1:], conn.info.backend_pid)
    if not rest:
        raise errors.OperationalError(MALFORMED)
    answer = rest[-1]
    if answer.status == pq.ExecStatus.FATAL_ERROR:
        error = failure(conn, answer)
        if error.sqlstate != IN_THE_FUTURE:
            raise error
        return fate_of("in the future", transaction.server, server)
    (status,) = row_of(answer) or [None]
    return fate_of(status, transaction.server, server)
