"""One transaction on one connection: BEGIN with all that is to be known of it, and COMMIT."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from psycopg import errors, pq

from pgmoor._core.connection.bounded_read import MalformedAnswer, exchange, failure
from pgmoor._core.connection.identity import NOT_POSTGRESQL
from pgmoor._core.connection.loss import note
from pgmoor.errors import AlreadyDone, NotInstalled, RetrySafety

from .statements import (
    ASK_XID,
    ASK_XID_AND_SERVER,
    CONFIRM,
    MALFORMED,
    TELL_XID,
    insert_key,
    parse_server,
    row_of,
    select_attempt,
)
from .verdict import ServerRun

if TYPE_CHECKING:
    from pgmoor._core.connection.managed import ManagedConnection

    from .statements import Modes

FATAL = pq.ExecStatus.FATAL_ERROR
NO_XID = ServerRun()  # of a server that has no transaction ids, or does not tell them
MISSING = frozenset({"42P01", "3F000", "42703", "42501"})


class ClaimedBefore(Exception):  # noqa: N818  it may well be a success
    """The key was claimed by an attempt that has committed."""

    def __init__(self, attempt: str) -> None:
        super().__init__("the key was claimed before")
        self.attempt = attempt


class Transaction:
    """One attempt: what was begun, and what is known of it."""

    def __init__(self, modes: Modes, key: str | None) -> None:
        self.attempt = str(uuid.uuid4()) if key is not None else ""
        self.xid: int | None = None
        self.server: ServerRun = NO_XID
        self.pid = 0
        self.read_only = False
        self._modes = modes
        self._key = key

    async def begin(self, conn: ManagedConnection) -> None:
        """Begin, in one round trip.

        Raises `ClaimedBefore` if an attempt with this key has committed; `NotInstalled`; or
        psycopg's errors, none of which leaves anything behind.
        """
        self.pid = conn.pgconn.backend_pid
        self.read_only = self._modes.read_only(conn)
        try:
            while not await self._begin(conn):
                await exchange(conn, b"ROLLBACK")
        except errors.Error as error:
            note(error, RetrySafety.ROLLED_BACK)
            raise
        conn.unit = self

    async def _begin(self, conn: ManagedConnection) -> bool:
        statements = [self._modes.begin(conn)]
        asks = conn.server is not NO_XID and not self.read_only
        # The key's insert can tell the id, too; which server it is must be asked before it.
        apart = asks and (self._key is None or not conn.server)
        if apart:
            statements.append(ASK_XID if conn.server else ASK_XID_AND_SERVER)
        if self._key is not None:
            insert = insert_key(self._key, self.attempt, conn)
            statements.append(insert + TELL_XID if asks and not apart else insert)
        results = await exchange(conn, b"; ".join(statements))
        last = results[-1]
        if last.status == FATAL:
            error = failure(conn, last)
            if apart and len(results) == 2 and error.sqlstate in NOT_POSTGRESQL:
                conn.server = NO_XID
                return False
            if len(results) == len(statements) and self._key is not None:
                raise _not_installed(error) from error
            raise error
        if asks:
            self._learn(conn, row_of(results[1]))
        if self._key is not None and last.command_status == b"INSERT 0 0":
            await self._claimed_before(conn, self._key)
        return True

    def _learn(self, conn: ManagedConnection, row: list[str | None]) -> None:
        xid, *rest = row or [None]
        if xid is not None and not xid.isdecimal():
            raise MalformedAnswer(MALFORMED)
        if rest:
            self.server, pooled = parse_server(rest, self.pid)
            if not (pooled or self.server.in_recovery):
                conn.server = self.server
        elif isinstance(conn.server, ServerRun):
            self.server = conn.server
        self.xid = None if xid is None else int(xid)

    async def _claimed_before(self, conn: ManagedConnection, key: str) -> None:
        result = (await exchange(conn, select_attempt(key, conn)))[-1]
        if result.status == FATAL:
            raise failure(conn, result)
        row = row_of(result)
        await confirm(conn)
        if not row or row[0] is None:
            raise AlreadyDone(key)
        raise ClaimedBefore(row[0])

    def check(self, conn: ManagedConnection) -> None:
        """Raise an error if the transaction can't be committed as it is."""
        status = conn.pgconn.transaction_status
        if conn._pipeline is not None:  # noqa: SLF001  psycopg has no other way to say so
            raise errors.ProgrammingError(
                "a pipeline is open at the end of the transaction: end it in the block"
            )
        if status == pq.TransactionStatus.INERROR:
            raise errors.InFailedSqlTransaction(
                "the transaction has failed, and its block ended without an error: don't catch a"
                " statement's error, or use conn.transaction() for those that may fail"
            )
        if status == pq.TransactionStatus.ACTIVE:
            raise errors.ProgrammingError(
                "a query is still running at the end of the transaction: await it in the block, and"
                " use contextlib.aclosing() for a stream that you leave early"
            )
        if status == pq.TransactionStatus.IDLE:
            error = errors.ProgrammingError(
                "a statement has ended the transaction before its block ended: leave COMMIT and"
                " ROLLBACK to run(), transaction() or retrying()"
            )
            raise note(error, RetrySafety.UNKNOWN)

    async def commit(self, conn: ManagedConnection) -> None:
        """Commit; raise `CommitOutcomeUnknown` when the connection is lost on the way."""
        self.check(conn)
        if conn.is_held_open:
            await conn.unlocked()
            self.check(conn)
        conn.unit = None
        await conn.commit()


async def confirm(conn: ManagedConnection) -> None:
    """Return when commits that can be seen are where synchronous replication wants them.

    Ends the transaction that the connection is in, if any.
    """
    statements = CONFIRM
    if conn.pgconn.transaction_status == pq.TransactionStatus.INTRANS:
        statements += b"; COMMIT"
    last = (await exchange(conn, statements))[-1]
    if last.status == FATAL:
        error = failure(conn, last)
        if error.sqlstate not in NOT_POSTGRESQL:
            raise error


def _not_installed(error: errors.Error) -> errors.Error:
    if error.sqlstate not in MISSING:
        return error
    return NotInstalled(
        f"the table of idempotency keys can't be used ({str(error).splitlines()[0]}): make it once"
        " with 'await manager.install()' or 'pgmoor install', and"
        " grant USAGE on the schema, and SELECT, INSERT, UPDATE and DELETE on the table"
    )
