"""Asks a server who it is: role, timeline, cluster, replay lag. Answers are checked strictly."""

from __future__ import annotations

import logging
import math
import re
from dataclasses import replace
from time import monotonic
from typing import TYPE_CHECKING

from psycopg import errors, pq

from pgmoor._core.hosts.host import ServerInfo
from pgmoor._core.reporting.log_fields import fields

from .bounded_read import MalformedAnswer, query

if TYPE_CHECKING:
    from collections.abc import Callable

    from psycopg.pq.abc import PGresult

    from pgmoor._core.hosts.host import Host

    from .abortable import AbortableConnection

logger = logging.getLogger("pgmoor.dial")

# One row in one round trip, open to every role. All names are qualified, so that no search_path can
# put others in their place. A role's default isolation may be one that a standby refuses, or one
# that waits: the question sets its own, which holds for this one string of statements.
#
# The control file's timeline lags until a checkpoint: on a primary the one in use is read from the
# name of the current WAL file. A standby's is the walreceiver's, which only members of
# pg_read_all_stats may see, else the control file's. An idle primary makes the replay timestamp
# grow old, so a standby that has replayed all that it received has no lag (after a restart it has
# replayed more: receiving begins at a segment's start). The start is an instant in microseconds,
# since TimeZone and DateStyle change its text.
_IDENTITY = b"""
set transaction isolation level read committed;
select r.r, pg_catalog.current_setting('transaction_read_only'),
 %(timeline)s,
 %(system_id)s,
 case when not r.r or pg_catalog.pg_last_wal_receive_lsn()
   operator(pg_catalog.<=) pg_catalog.pg_last_wal_replay_lsn()
 then null else extract(epoch from pg_catalog.clock_timestamp()
   operator(pg_catalog.-) pg_catalog.pg_last_xact_replay_timestamp()) end,
 (extract(epoch from pg_catalog.pg_postmaster_start_time())
   operator(pg_catalog.*) 1000000)::pg_catalog.int8,
 pg_catalog.pg_backend_pid()
from (select pg_catalog.pg_is_in_recovery()) r(r)
"""
# The function and not its view: that takes a third off the time of a new session's first question.
_RECEIVED = b"(select received_tli from pg_catalog.pg_stat_get_wal_receiver())"
_TIMELINE = b"""case when r.r then %s::pg_catalog.text
 else ('x' operator(pg_catalog.||) pg_catalog.substr(
   pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()), 1, 8)
  )::pg_catalog.bit(32)::pg_catalog.int4::pg_catalog.text end"""
_NEWEST = b"greatest(%s, (select timeline_id from pg_catalog.pg_control_checkpoint()))"
IDENTITY_SQL = _IDENTITY % {
    b"timeline": _TIMELINE % (_NEWEST % _RECEIVED),
    b"system_id": b"""(select system_identifier::pg_catalog.text
  from pg_catalog.pg_control_system())""",
}
# A hardened server may keep its control file to itself.
WITHOUT_CONTROL_FILE_SQL = _IDENTITY % {b"timeline": _TIMELINE % _RECEIVED, b"system_id": b"null"}
WITHOUT_TIMELINE_SQL = _IDENTITY % {b"timeline": b"null", b"system_id": b"null"}
# Behind a pooler a session that others left read-only says nothing of the server: only the mode
# that a new session begins with does.
#
# A server that refuses writes is asked why: by a setting of its own, or only where we have logged
# in, by one of our role, our database or our session.
NEW_SESSIONS_SQL = b"""
select reset_val, source from pg_catalog.pg_settings
 where name operator(pg_catalog.=) 'default_transaction_read_only'
"""
OWN_SOURCES = frozenset({b"database", b"user", b"database user", b"client", b"session"})
# Poolers and databases that speak PostgreSQL's protocol without its functions.
PLAIN_SQL = b"show transaction_read_only"
# Undefined function, object or table, unsupported feature, syntax error, insufficient privilege.
# Object not in prerequisite state: PostgreSQL itself never says so to this question; Aurora does,
# whose writer has no WAL position while wal_level is below logical.
NOT_POSTGRESQL = frozenset({"42883", "42704", "42P01", "0A000", "42601", "42501", "55000"})
# The fullest first, each with what it asks for.
QUESTIONS = (
    (IDENTITY_SQL, "everything"),
    (WITHOUT_CONTROL_FILE_SQL, "all but its control file"),
    (WITHOUT_TIMELINE_SQL, "its role and its start"),
    (PLAIN_SQL, "read-only mode alone"),
)
PLAIN = len(QUESTIONS) - 1

# Not quoted in an error: a server can answer with whatever it likes.
MALFORMED = "its answer to a health check makes no sense"
INSUFFICIENT_PRIVILEGE = "42501"
# Seconds until a server that did not understand a question is asked it again: a right may be
# granted, and another server may answer at the address. It is a quarter of the time for which it
# has not understood, between these.
FIRST_AGAIN, LAST_AGAIN = 1.0, 60.0
NEWEST_TIMELINE = 2**31 - 1  # the arithmetic of IDENTITY_SQL ends there
LONG = 2**64 - 1
_NUMBER = re.compile(rb"-?[0-9]{1,20}")
_SECONDS = re.compile(rb"-?[0-9]{1,20}(\.[0-9]{1,20})?(e[+-]?[0-9]{1,3})?")


def parse_identity(results: list[PGresult], backend_pid: int) -> ServerInfo:
    """Return what the answer to `IDENTITY_SQL` says; raise `MalformedAnswer` when it is none."""
    recovery, read_only, timeline, system_id, lag, started, pid = _row(results, 7)
    if recovery not in (b"t", b"f") or read_only not in (b"on", b"off"):
        raise MalformedAnswer(MALFORMED)
    return ServerInfo(
        in_recovery=recovery == b"t",
        writable=read_only == b"off" and recovery == b"f",
        timeline=_number(timeline, NEWEST_TIMELINE) or None,
        system_id=_number(system_id, LONG) or None,
        lag=_seconds(lag),
        started=_number(started, LONG),
        # A pooler invents the process id that it gives its clients for cancel requests.
        pooled=None if pid is None else _number(pid, LONG) != backend_pid,
    )


def parse_plain(results: list[PGresult]) -> ServerInfo:
    """Return what the answer to `PLAIN_SQL` says; raise `MalformedAnswer` when it is none."""
    (read_only,) = _row(results, 1)
    if read_only not in (b"on", b"off"):
        raise MalformedAnswer(MALFORMED)
    return ServerInfo(writable=read_only == b"off")


def explained(info: ServerInfo, results: list[PGresult]) -> ServerInfo:
    """Add what the answer to `NEW_SESSIONS_SQL` says; raise `MalformedAnswer` when it is none."""
    read_only, source = _row(results, 2)
    if read_only not in (b"on", b"off"):
        raise MalformedAnswer(MALFORMED)
    if info.pooled:
        return replace(info, writable=read_only == b"off")
    return replace(info, own_mode=source in OWN_SOURCES)


def _row(results: list[PGresult], columns: int) -> list[bytes | None]:
    """Return the only row of the only result, but for that of a SET before it."""
    if results and results[0].status == pq.ExecStatus.COMMAND_OK:
        results = results[1:]
    if len(results) == 1:
        result = results[0]
        shape = (result.status, result.ntuples, result.nfields)
        if shape == (pq.ExecStatus.TUPLES_OK, 1, columns):
            return [result.get_value(0, column) for column in range(columns)]
    raise MalformedAnswer(MALFORMED)


def _number(text: bytes | None, most: int) -> int | None:
    if text is None:
        return None
    if not _NUMBER.fullmatch(text) or abs(int(text)) > most:
        raise MalformedAnswer(MALFORMED)
    return int(text)


def _seconds(text: bytes | None) -> float | None:
    if text is None:
        return None
    if not _SECONDS.fullmatch(text) or not math.isfinite(float(text)):
        raise MalformedAnswer(MALFORMED)
    return float(text)


class IdentityQuery:
    """Asks the servers behind one address who they are, in the fullest way they understand."""

    def __init__(self, manager: str, host: Host) -> None:
        self._manager = manager
        self._host = host
        self._question = 0  # of `QUESTIONS`: the fullest that was understood
        self._again_at = 0.0  # when the fuller ones are due
        self._lacking_since = 0.0  # since when they were not understood
        self._server: ServerInfo | None = None  # what was answered last

    async def ask(
        self,
        conn: AbortableConnection,
        timeout: float,
        goes_on: Callable[[], bool] | None = None,
    ) -> ServerInfo:
        """Return what the server says of itself; raise if it doesn't within *timeout* seconds.

        It gets these again for as long as *goes_on* returns True.
        """
        info = await self._ask(conn, timeout, goes_on)
        self._watch(info)
        return info

    async def _ask(
        self,
        conn: AbortableConnection,
        timeout: float,
        goes_on: Callable[[], bool] | None,
    ) -> ServerInfo:
        """Ask one question after the other, until one is understood."""
        question = self._question if monotonic() < self._again_at else 0
        reason = f"no answer to a health check within {timeout:g} s"
        while True:
            statement, _ = QUESTIONS[question]
            try:
                results = await query(conn, statement, timeout, reason, goes_on)
            except errors.Error as error:
                if error.sqlstate not in NOT_POSTGRESQL or statement is PLAIN_SQL:
                    raise
                question = question + 1 if error.sqlstate == INSUFFICIENT_PRIVILEGE else PLAIN
            else:
                self._understood(question)
                if statement is PLAIN_SQL:
                    return parse_plain(results)
                info = parse_identity(results, conn.info.backend_pid)
                if info.in_recovery is False and not info.writable:
                    asked = await query(conn, NEW_SESSIONS_SQL, timeout, reason, goes_on)
                    info = explained(info, asked)
                return info

    def _watch(self, info: ServerInfo) -> None:
        """Have a server asked in full the next time if it has changed its role since the last one.

        Another server at the address waits for its turn: several may take turns there.
        """
        before, self._server = self._server, info
        if before is None or info.started is None or info.started != before.started:
            return
        if info.in_recovery != before.in_recovery and self._question:
            self._again_at = self._lacking_since = monotonic()

    def _understood(self, question: int) -> None:
        now = monotonic()
        if question and not self._question:
            self._again_at = self._lacking_since = now
        if question and now >= self._again_at:
            lacking_for = now - self._lacking_since
            self._again_at = now + min(max(lacking_for / 4, FIRST_AGAIN), LAST_AGAIN)
        if question > self._question:
            logger.info(
                "%s can't answer the whole health check (a right or a function is missing);"
                " asking it for %s",
                self._host,
                QUESTIONS[question][1],
                extra=fields("AskingPlainly", self._manager, host=self._host.label),
            )
        self._question = question
