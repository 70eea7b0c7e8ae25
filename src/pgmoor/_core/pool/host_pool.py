"""One host's connections, from the host being chosen to its being left.

It knows its connections and what becomes of each; `checkout` decides who gets one.
"""

from __future__ import annotations

import logging
import random
from bisect import insort
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING, Any, cast

from pgmoor._core.connection.abortable import BAD
from pgmoor._core.connection.managed import ManagedConnection, managed
from pgmoor._core.dialling.dialler import Dialler
from pgmoor._core.hosts.failures import READ_ONLY_SQL_TRANSACTION
from pgmoor._core.reporting.instrument_list import OneMore
from pgmoor._core.reporting.log_fields import fields

from . import psycopg_adapter
from .fate import CLOSE, RESET, REUSE
from .filler import Filler
from .psycopg_adapter import InnerPool
from .standalone import StandaloneConnections
from .tasks import PoolTasks
from .verification import Verifier, warn_of_rollback

if TYPE_CHECKING:
    import asyncio

    from psycopg import errors

    from pgmoor._core.dialling.connector import Connector
    from pgmoor._core.hosts.host import Host
    from pgmoor._core.state.live import LiveState
    from pgmoor.instruments import Instrument

    from .callbacks import Callbacks
    from .fate import Fate
    from .ledger import Ledger
    from .lender import Lender

logger = logging.getLogger("pgmoor.pool")

LIFETIME_JITTER = 0.1


class HostPool:
    """The connections to one host while it is in use."""

    def __init__(
        self,
        live: LiveState,
        connector: Connector,
        host: Host,
        callbacks: Callbacks,
        *,
        ledger: Ledger,
        lender: Lender,
        dial_counter: Instrument,
    ) -> None:
        settings, evidence = live.settings, live.evidence
        self.host = host
        self.host_label: str = host.label
        self.settings = settings
        self.manager_name: str = settings.name
        self.close_returns: bool = settings.close_returns
        self.ledger = ledger
        self.lender = lender
        self.size: int = 0  # its connections in the ledger
        self.ready: list[ManagedConnection] = []  # the idle ones, the last used at the end
        self.serving = False  # callers get its connections
        self.retired_because: str | None = None
        self._opened = False
        self._evidence = evidence
        self._instruments = live.instruments
        self._resets = callbacks.reset is not None
        self._generation = 0
        self.tasks: PoolTasks = PoolTasks(settings.name, host.label)
        self.verifier: Verifier = Verifier(
            settings, host, evidence, check=callbacks.check, reset=callbacks.reset
        )
        self.dialler: Dialler[ManagedConnection] = Dialler(
            settings,
            connector,
            host,
            evidence,
            connection_class=managed(callbacks.connection_class),
            configure=callbacks.configure,
            instruments=OneMore(live.instruments, dial_counter),
        )
        self.standalone: StandaloneConnections = StandaloneConnections(
            lambda kind, own_login: Dialler(
                settings,
                connector.apart() if own_login else connector,
                host,
                evidence,
                connection_class=kind,
                configure=None,
                instruments=live.instruments,
                own_login=own_login,
            ),
            settings.cancel_timeout,
        )
        self.inner: InnerPool = InnerPool(f"{settings.name}-{host.label}")
        self.filler: Filler = Filler()

    async def open(self) -> None:
        """Begin to fill the pool up to `min_size`, a few dials at a time."""
        await self.inner.open()
        self._opened = True
        self.fill()

    def fill(self) -> None:
        """Begin as many dials as are wanted now."""
        self.filler.fill(self)

    @property
    def connections(self) -> set[ManagedConnection]:
        """Its connections, as the ledger has them."""
        return self.ledger.of(self)

    @property
    def in_use(self) -> bool:
        """Whether it is open, and its host was not left."""
        return self._opened and self.retired_because is None

    def retire(self, reason: str, *, abort: bool) -> None:
        """Stop handing out connections; with *abort*, cut those that are held, too.

        Idle connections close at once, held ones when they come back. Returns without waiting.
        """
        if self.retired_because is None:
            self.retired_because = reason
            self.serving = False
            self.ledger.left(self)
            self.dialler.retire()
            self.standalone.retire(reason)
            self._close_ready()
            self.tasks.spawn(self.inner.aclose(self.settings.close_timeout), "close")
        if abort:
            self.cut(reason)

    def cut(self, reason: str) -> None:
        """Cut all connections."""
        for conn in self.connections:
            conn.abort(reason)
            self.ledger.cut(conn)
        self.standalone.cut(reason)
        self.lender.feed()  # what was cut makes room

    def resized(self) -> None:
        """Act on changed limits: close idle connections beyond them, and make those missing."""
        sizes = self.ledger.sizes
        kept = sizes.most if self.lender.pausing else sizes.kept
        while self.ready and (self.size > sizes.most or len(self.ready) > kept):
            self.ready.pop(0).discard()
        self.sweep()

    # -- connections in and out ------------------------------------------------------------------

    def lend(self, conn: ManagedConnection, now: float, holder: asyncio.Task[Any] | None) -> None:
        """Record that *holder*, the current task, holds the connection from now on."""
        self.ledger.held += 1
        conn.lease += 1
        conn.held_since = now
        conn.holder = holder

    def fate(self, conn: ManagedConnection, now: float, *, returned: bool = True) -> Fate:
        """Return what becomes of a connection now; *returned* by its holder, not reset yet."""
        if not conn.is_at_rest():
            return CLOSE if conn.pgconn.status == BAD or not returned else RESET
        if self._resets and returned:
            return RESET
        current = conn.generation == self._generation and self.retired_because is None
        return REUSE if current and now < conn.expires_at else CLOSE

    def put(self, conn: ManagedConnection, fate: Fate, *, wanted: bool = False) -> None:
        """Put a connection with the idle ones, or close it.

        At most `Sizes.kept` are idle, unless it is *wanted* by a caller who waits.
        """
        ready, ledger = self.ready, self.ledger
        room = wanted or len(ready) < ledger.kept
        if fate is REUSE and room and self.size <= ledger.most:
            if ready and conn.idle_since < ready[-1].idle_since:
                insort(ready, conn, key=_idle_since)
            else:
                ready.append(conn)
        else:
            conn.discard()
            self.ledger_changed()

    def forget(self, conn: ManagedConnection) -> None:
        """Take a connection off the books, once it is closed and not held; replace it if wanted."""
        if self.ledger.remove(conn):
            self.size -= 1
            with suppress(ValueError):
                self.ready.remove(conn)  # its program closed it after its return
            self.tasks.spawn(self.inner.dismiss(conn, self.settings.cancel_timeout), "dismiss")
            self.ledger_changed()
            self.fill()

    def ledger_changed(self) -> None:
        """Wake whoever waits for connections to be made, or to come back."""
        self._evidence.notifier.notify()

    # -- as the owner of its connections ---------------------------------------------------------

    def aborted(self) -> None:
        """Note that a connection was cut."""
        for instrument in self._instruments:
            instrument.aborted(self.host_label)

    def broke(self, conn: ManagedConnection, error: errors.Error) -> None:
        """Suspect the host of a connection that broke, or whose server refused a write."""
        if error.sqlstate == READ_ONLY_SQL_TRANSACTION:
            reads_only = conn.read_only if conn.unit is None else conn.unit.read_only
            expected = reads_only or not self._evidence.wants_writes
            if self.serving and not expected and self._evidence.suspect("a server refused a write"):
                self.lender.pause(f"{self.host} refused a write and is asked why")
        elif conn.abort_reason is None and self.retired_because is None:
            self._evidence.suspect("a connection broke")

    async def putconn(self, conn: ManagedConnection) -> None:
        """Take back a connection that its holder returns by itself; close one that is not held."""
        if conn.holder is not None:
            if conn.pgconn.transaction_status:  # not IDLE, which is 0
                warn_of_rollback(conn)
            await self.lender.release(conn)
        else:
            conn.discard()

    # -- testing and renewing --------------------------------------------------------------------

    async def verify(self, conn: ManagedConnection, limit: float | None = None) -> bool:
        """Return whether a connection works, by a round trip within `health_timeout`.

        When there is no answer, the same is expected of the idle ones of which nothing was heard
        since the question: each would cost another timeout. With a shorter *limit*, not so.
        """
        patience = self.settings.health_timeout
        hasty = limit is not None and limit < patience
        asked_at = monotonic()
        try:
            works = await self.verifier.verify(conn, limit if limit and hasty else patience)
        except TimeoutError:
            if self.retired_because is None and not hasty:
                self._condemn(asked_at)
            return False
        if works:
            conn.tested_at = monotonic()
        return works

    def _condemn(self, asked_at: float) -> None:
        silent = [conn for conn in self.ready if conn.heard_at() < asked_at]
        logger.info(
            "a connection to %s does not answer; replacing %d idle connections",
            self.host,
            len(silent),
            extra=fields(
                "PoolRenewed", self.manager_name, host=self.host_label, connections=len(silent)
            ),
        )
        for conn in silent:
            conn.discard()
        self.lender.lost(len(silent))

    def sweep(self) -> None:
        """Close idle connections that have ended, are too old, or that nobody has needed.

        It takes a microsecond for each, and no round trip.
        """
        now = monotonic()
        pausing = self.lender.pausing  # then callers wait for what is ready
        for conn in tuple(self.ready):
            unused = now - conn.idle_since >= self.settings.max_idle and not pausing
            surplus = unused and self.size > self.ledger.sizes.min_size
            if not conn.is_at_rest() and conn.pgconn.status != BAD:
                self.verifier.drop(conn, "it was used after its return")
            elif (ended := conn.has_ended()) or surplus or now >= conn.expires_at:
                conn.discard()
                self.lender.lost(int(ended))
        self.fill()  # something else may have cancelled a dial

    def drain(self) -> None:
        """Renew all connections: idle ones now, held ones when they come back."""
        self._generation += 1
        self._close_ready()

    def _close_ready(self) -> None:
        while self.ready:
            self.ready.pop().discard()

    def adopt(self, conn: ManagedConnection) -> None:
        """Make a new connection one of the pool's."""
        conn.owner = self
        conn.hearing = self._evidence.hearings.of(self.host.index)
        psycopg_adapter.set_return_address(conn, self)
        conn.generation = self._generation
        # Not all at once: programs that were started together would reconnect together for ever.
        life = random.uniform(1 - LIFETIME_JITTER, 1) * self.settings.max_lifetime
        conn.idle_since = now = monotonic()
        conn.expires_at = now + life
        conn.cancel_timeout = self.settings.cancel_timeout
        self.ledger.connections.add(conn)
        self.size += 1
        self.ledger_changed()


def _idle_since(conn: ManagedConnection) -> float:
    return conn.idle_since


def pool_of(conn: ManagedConnection) -> HostPool:
    """Return the pool of a connection that this package has lent."""
    return cast("HostPool", conn.owner)
