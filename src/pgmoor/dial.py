"""Making connections to one host: each dial bounded, each result asked who it is.

`Dialler.dial()` is what the pool calls; it tries until it succeeds or its pool is left.
"""

from __future__ import annotations

import asyncio
import logging
from time import monotonic
from typing import TYPE_CHECKING, Any

import anyio
import psycopg
from psycopg import errors
from psycopg_pool import PoolClosed

from .access import failure_of
from .backoff import delays
from .facts import full_facts, plain_facts
from .gate import NEEDS_A_PERSON, SLOW_DELAY
from .hosts import Observation
from .instruments import ended
from .logs import fields
from .sqlstate import Failure

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from .access import Access
    from .config import Settings
    from .connection import ManagedConnection
    from .hosts import Facts, Host
    from .instruments import Instrument

logger = logging.getLogger("pgmoor.dial")

# One row of one statement, in one round trip, open to every role. All names are qualified, so that
# no search_path can put others in their place. The control file's timeline lags
# until a checkpoint: on a primary the one in use is read from the name of the current WAL file.
# A standby's is the walreceiver's, which only members of pg_read_all_stats may see, else the
# control file's. An idle primary makes the replay timestamp grow old, so a standby that has
# replayed all that it received has no lag (after a restart it has replayed more: receiving begins
# at a segment's start).
FULL_QUESTION = b"""
select r.r, pg_catalog.current_setting('transaction_read_only'),
 case when r.r then greatest((select received_tli from pg_catalog.pg_stat_wal_receiver),
  (select timeline_id from pg_catalog.pg_control_checkpoint()))::pg_catalog.text
 else ('x' operator(pg_catalog.||) pg_catalog.substr(
   pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()), 1, 8)
  )::pg_catalog.bit(32)::pg_catalog.int4::pg_catalog.text end,
 (select system_identifier::pg_catalog.text from pg_catalog.pg_control_system()),
 case when not r.r or pg_catalog.pg_last_wal_receive_lsn()
   operator(pg_catalog.<=) pg_catalog.pg_last_wal_replay_lsn()
 then null else extract(epoch from pg_catalog.clock_timestamp()
   operator(pg_catalog.-) pg_catalog.pg_last_xact_replay_timestamp()) end,
 pg_catalog.pg_postmaster_start_time(), pg_catalog.pg_backend_pid()
from (select pg_catalog.pg_is_in_recovery()) r(r)
"""
# Poolers and databases that speak PostgreSQL's protocol without its functions.
PLAIN_QUESTION = b"show transaction_read_only"
# Undefined function, object or table, unsupported feature, syntax error, insufficient privilege.
# Object not in prerequisite state: PostgreSQL itself never says so to this question; Aurora does,
# whose writer has no WAL position while wal_level is below logical.
NOT_POSTGRESQL = frozenset({"42883", "42704", "42P01", "0A000", "42601", "42501", "55000"})


class HostLeft(PoolClosed):
    """The host was left while a connection to it was being made."""


class Asker:
    """Asks servers of one host list entry who they are, in the fullest way they understand."""

    def __init__(self, manager: str, host: Host) -> None:
        self._manager = manager
        self._host = host
        self._plain = False

    async def ask(self, conn: ManagedConnection, timeout: float) -> Facts:
        """Return what the server says of itself; raise when it doesn't within *timeout* seconds."""
        why = f"no answer to a health check within {timeout:g} s"
        if not self._plain:
            try:
                answer = await conn.ask(FULL_QUESTION, timeout, why)
                return full_facts(answer, conn.info.backend_pid)
            except errors.Error as error:
                if error.sqlstate not in NOT_POSTGRESQL:
                    raise
                self._plain = True
                logger.info(
                    "%s does not know PostgreSQL's functions; asking plainly",
                    self._host,
                    extra=fields("AskingPlainly", self._manager, host=self._host.label),
                )
        return plain_facts(await conn.ask(PLAIN_QUESTION, timeout, why))


class Dialler:
    """Makes the connections of one host's pool."""

    def __init__(
        self,
        settings: Settings,
        host: Host,
        access: Access,
        *,
        observe: Callable[[Observation], None],
        accepts: Callable[[Observation], Failure | None],
        adopt: Callable[[ManagedConnection], None],
        failed: Callable[[Host, Failure], None],
        configure: Callable[[Any], Awaitable[None]] | None,
        instruments: Iterable[Instrument],
    ) -> None:
        self._settings = settings
        self._host = host
        self._access = access
        self._observe = observe  # takes in what a dial has learnt of the host
        self._accepts = accepts  # says why a server that answers so is not wanted
        self._adopt = adopt  # makes the connection one of the pool's
        self._failed = failed
        self._configure = configure
        self._instruments = instruments
        self._asker = Asker(settings.name, host)
        self._scopes: set[anyio.CancelScope] = set()
        self._left = False

    def leave(self) -> None:
        """End all dials: the pool is being closed."""
        self._left = True
        self.hurry()

    def hurry(self) -> None:
        """Begin every pending dial anew: the host has just answered again.

        A dial that hangs in a retransmission, or waits in its backoff, would come seconds later.
        """
        for scope in tuple(self._scopes):
            scope.cancel()

    async def dial(
        self, cls: type[ManagedConnection], wanted: Callable[[], bool] = lambda: True
    ) -> ManagedConnection:
        """Return a tested connection; raise `HostLeft` once the pool is left, or it isn't *wanted*.

        Tries for as long as it takes.
        """
        waits = delays(self._settings.backoff_base, self._settings.backoff_cap)
        while not self._left and wanted():
            with anyio.CancelScope() as scope:
                self._scopes.add(scope)
                try:
                    outcome = await self._observed_attempt(cls)
                    if not isinstance(outcome, Failure):
                        return outcome
                    self._failed(self._host, outcome)
                    await self._rest(outcome, next(waits))
                finally:
                    self._scopes.discard(scope)
        raise HostLeft(f"{self._host} was left")

    async def _observed_attempt(self, cls: type[ManagedConnection]) -> ManagedConnection | Failure:
        began = monotonic()
        ends = [instrument.dialling(self._host.label) for instrument in self._instruments]
        try:
            outcome = await self._attempt(cls)
        except BaseException as error:
            ended(ends, error)
            raise
        if isinstance(outcome, Failure):
            ended(ends, outcome.kind.value)
        else:
            ended(ends, None)
            for instrument in self._instruments:
                instrument.dialled(monotonic() - began)
        return outcome

    async def _attempt(self, cls: type[ManagedConnection]) -> ManagedConnection | Failure:
        limit = self._settings.connect_timeout
        asked_at = monotonic()
        try:
            conn = await self._access.connect(cls, limit)
        except Exception as error:  # noqa: BLE001  `connection_class` is the user's
            return failure_of(error, self._settings, limit)
        kept = False
        try:
            facts = await self._asker.ask(conn, self._settings.health_timeout)
            seen = Observation(self._host.index, asked_at, monotonic(), facts=facts, dialled=True)
            self._observe(seen)
            # What this connection itself has said counts, whatever a probe has learnt meanwhile:
            # one address may lead to several servers.
            if unwanted := self._accepts(seen):
                return unwanted
            if facts.pooled and "prepare_threshold" not in self._settings.connect_args:
                conn.prepare_threshold = None  # the next transaction may be on another server
            await self._run_configure(conn)
            self._adopt(conn)
            kept = True
        except Exception as error:  # noqa: BLE001  `configure` is the user's and may raise anything
            return failure_of(error, self._settings, limit)
        finally:
            if not kept:
                conn.discard()
        return conn

    async def _rest(self, failure: Failure, delay: float) -> None:
        if failure.kind in NEEDS_A_PERSON:
            least = self._access.gate.shut_for(monotonic()) or SLOW_DELAY
            await self._access.wait_until_let_in(max(delay, least))
        else:
            await asyncio.sleep(delay)

    async def _run_configure(self, conn: ManagedConnection) -> None:
        if self._configure is None:
            return
        with anyio.fail_after(self._settings.connect_timeout):
            await self._configure(conn)
        status = conn.info.transaction_status
        if status.name != "IDLE":
            raise psycopg.ProgrammingError(
                f"configure left the connection in status {status.name}; let it commit"
            )
