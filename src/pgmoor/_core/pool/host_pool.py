"""One host's connections, from the host being chosen to its being left.

It knows its connections and what becomes of each; `checkout` decides who gets one.
"""

from __future__ import annotations

import asyncio
import logging
import random
from asyncio import current_task
from time import monotonic
from typing import TYPE_CHECKING, Any

from pgmoor._core.connection.abortable import BAD
from pgmoor._core.connection.managed import ManagedConnection, managed
from pgmoor._core.dialling.dialler import Dialler
from pgmoor._core.hosts.failures import READ_ONLY_SQL_TRANSACTION
from pgmoor._core.reporting.instrument_list import OneMore
from pgmoor._core.reporting.log_fields import fields
from pgmoor.health import Holder

from . import psycopg_adapter
from .fate import CLOSE, RESET, REUSE
from .overflow import Overflow
from .tasks import PoolTasks
from .verification import Verifier

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from psycopg import errors
    from psycopg_pool import AsyncConnectionPool

    from pgmoor._core.dialling.connector import Connector
    from pgmoor._core.hosts.host import Host
    from pgmoor._core.settings.sizes import Sizes
    from pgmoor._core.state.live import LiveState
    from pgmoor.instruments import Instrument

    from .callbacks import Callbacks
    from .fate import Fate

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
        sizes: Sizes,
        dial_counter: Instrument,
        take_back: Callable[[ManagedConnection], Awaitable[None]],
    ) -> None:
        settings, evidence = live.settings, live.evidence
        self.host = host
        self.host_label: str = host.label
        self.settings = settings
        self.manager_name: str = settings.name
        self.close_returns: bool = settings.close_returns
        self.sizes: Sizes = sizes
        self.connections: set[ManagedConnection] = set()
        # Idle ones, the last used at the end; `min_size` at most. psycopg_pool counts them as lent:
        # to take one from it and give it back costs more than all the rest of a checkout.
        self.ready: list[ManagedConnection] = []
        self.stored: int = 0  # further idle ones that were lent before, in psycopg_pool's hands
        self.used: int = 0
        self.in_line: int = 0  # of our own takers, who wait in psycopg_pool's queue
        self.retired_because: str | None = None
        self.feeder: asyncio.Task[None] | None = None
        self._evidence = evidence
        self._instruments = live.instruments
        self._resets = callbacks.reset is not None
        self._take_back = take_back
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
            adopt=self._adopt,
            instruments=OneMore(live.instruments, dial_counter),
        )
        self.overflow: Overflow = Overflow(self)
        self.inner: AsyncConnectionPool[Any] = psycopg_adapter.make_pool(
            settings, sizes, self.dialler, f"{settings.name}-{host.label}"
        )

    async def open(self) -> None:
        """Begin to fill the pool up to `min_size`, a few dials at a time."""
        await self.inner.open()

    def retire(self, reason: str, *, abort: bool) -> None:
        """Stop handing out connections; with *abort*, cut those that are held, too.

        Idle connections close at once, held ones when they come back. Returns without waiting.
        """
        if self.retired_because is None:
            self.retired_because = reason
            self.dialler.retire()
            for conn in self._take_all_ready():
                conn.discard()
            self.tasks.spawn(self.inner.close(timeout=self.settings.close_timeout), "close")
        if abort:
            self.cut(reason)

    def cut(self, reason: str) -> None:
        """Cut all connections."""
        for conn in tuple(self.connections):
            conn.abort(reason)

    async def resize(self, sizes: Sizes) -> None:
        """Change the limits. What is beyond them and unused is closed, one each `max_idle`."""
        self.sizes = sizes
        await self._fit()
        for conn in self._take_all_ready():
            await self.put_unused(conn)
        if self.in_line:
            # psycopg_pool grows when somebody joins its queue, or here; nothing in it is idle now.
            await self.inner.check()

    async def _fit(self) -> None:
        """Tell psycopg_pool its limits, and have it make what is missing to `min_size`.

        It makes as many as its own minimum is raised by, however many there are. So its minimum is
        raised only as connections are missing, now or when `forget()` is called.
        """
        least = self.sizes.min_size
        made = self.inner.get_stats()["pool_size"] + self.overflow.count
        least = min(least, self.inner.min_size + max(least - made, 0))
        await self.inner.resize(least, max(self.sizes.kept, 1))

    # -- connections in and out ------------------------------------------------------------------

    @property
    def idle(self) -> int:
        """How many connections are idle that were lent before."""
        return len(self.ready) + self.stored

    @property
    def stocked(self) -> bool:
        """Whether `take()` would not wait."""
        return bool(self.ready or self.inner.get_stats()["pool_available"])

    async def take(self, timeout: float) -> ManagedConnection:
        """Take a connection out of the pool; at once while it is `stocked`.

        Raises `PoolClosed` when the pool is retired, `PoolTimeout` after *timeout* seconds.
        """
        return self.ready.pop() if self.ready else await self.take_stored(timeout)

    async def take_stored(self, timeout: float) -> ManagedConnection:
        """Take a connection that psycopg_pool has, or that it makes; see `take()`."""
        self.in_line += 1
        try:
            conn: ManagedConnection = await self.inner.getconn(timeout)
        finally:
            self.in_line -= 1
        self.taken(conn)
        return conn

    def taken(self, conn: ManagedConnection) -> None:
        """Count a connection as stored no longer."""
        if conn.stored:
            conn.stored = False
            self.stored -= 1

    def _take_all_ready(self) -> list[ManagedConnection]:
        conns, self.ready = self.ready, []
        return conns

    def lend(self, conn: ManagedConnection, now: float) -> None:
        """Record that the current task holds the connection from now on."""
        self.used += 1
        conn.lease += 1
        conn.held_since = now
        conn.holder = current_task()

    def fate(self, conn: ManagedConnection, now: float, *, returned: bool = True) -> Fate:
        """Return what becomes of a connection now; *returned* by its holder, not reset yet."""
        if not conn.is_at_rest():
            return CLOSE if conn.pgconn.status == BAD or not returned else RESET
        if self._resets and returned:
            return RESET
        current = conn.generation == self._generation and self.retired_because is None
        return REUSE if current and now < conn.expires_at else CLOSE

    def put(self, conn: ManagedConnection, fate: Fate, now: float) -> Awaitable[None] | None:
        """Put a connection back into the pool, or close it and have it replaced.

        One beyond those that may be idle is closed, unless it can stay in place of another. Await
        the result if there is one; it does not wait for anything.
        """
        conn.idle_since = now
        if self.retired_because is not None:
            self._evidence.notifier.notify()
        if conn.extra and not (fate is REUSE and self.overflow.swap(conn)):
            self.overflow.count -= 1
            conn.discard()
            return None
        if fate is not REUSE:
            conn.discard()
            if conn.pgconn.status != BAD:
                limit = self.settings.cancel_timeout
                replacing = psycopg_adapter.replace_once_closed(self.inner, conn, limit)
                self.tasks.spawn(replacing, "replace")
                return None
        if self.in_line:
            # One of our takers in line gets it. It may have to wait for a lock of that one (Python
            # 3.11), and a caller who were cancelled there would lose the connection.
            self.tasks.spawn(self.inner.putconn(conn), "return")
            return None
        if fate is REUSE:
            if len(self.ready) < self.sizes.min_size:
                self.ready.append(conn)
                return None
            conn.stored = True
            self.stored += 1
        return self.inner.putconn(conn)

    async def put_unused(self, conn: ManagedConnection) -> None:
        """Put back a connection that was taken but not lent."""
        now = monotonic()
        pending = self.put(conn, self.fate(conn, now, returned=False), now)
        if pending is not None:
            await pending

    def forget(self, conn: ManagedConnection) -> None:
        """Take a connection off the books: it is closed or about to be."""
        self.connections.discard(conn)
        self.taken(conn)
        if self.inner.min_size < self.sizes.min_size and self.retired_because is None:
            self.tasks.spawn(self._fit(), "fit")

    # -- as the owner of its connections ---------------------------------------------------------

    def aborted(self) -> None:
        """Note that a connection was cut."""
        for instrument in self._instruments:
            instrument.aborted(self.host_label)

    def broke(self, conn: ManagedConnection, error: errors.Error) -> None:
        """Suspect the host of a connection that broke, or whose server refused a write."""
        if error.sqlstate == READ_ONLY_SQL_TRANSACTION:
            if conn.read_only is not True and self._evidence.wants_writes:
                self._evidence.suspect("a server refused a write")
        elif conn.abort_reason is None and self.retired_because is None:
            self._evidence.suspect("a connection broke")

    async def take_back(self, conn: ManagedConnection) -> None:
        """Return a connection that its holder has closed (`close_returns`)."""
        await self._take_back(conn)

    # -- testing and renewing --------------------------------------------------------------------

    async def verify(self, conn: ManagedConnection, limit: float | None = None) -> bool:
        """Return whether a connection works, by a round trip within `health_timeout`.

        One that does not answer condemns all that are idle: each would cost another timeout. With a
        shorter *limit* it condemns itself only.
        """
        patience = self.settings.health_timeout
        hasty = limit is not None and limit < patience
        try:
            return await self.verifier.verify(conn, limit if limit and hasty else patience)
        except TimeoutError:
            if self.retired_because is None and not hasty:
                logger.info(
                    "a connection to %s does not answer; renewing all idle ones",
                    self.host,
                    extra=self._fields("PoolRenewed"),
                )
                await self.drain()
            return False

    async def drain(self) -> None:
        """Renew all connections: idle ones now, held ones when they come back."""
        self._generation += 1
        for conn in self._take_all_ready():
            await self.put_unused(conn)
        await self.inner.drain()

    # -- what is known of them -------------------------------------------------------------------

    def holders(self, most: int = 3) -> tuple[Holder, ...]:
        """Return who has held connections longest."""
        now = monotonic()
        held = sorted((c for c in self.connections if c.holder), key=lambda c: c.held_since)
        return tuple(
            Holder(c.holder.get_name() if c.holder else "no task", now - c.held_since)
            for c in held[:most]
        )

    def _fields(self, event: str, **values: str | float | None) -> dict[str, object]:
        return fields(event, self.manager_name, host=self.host_label, **values)

    def _adopt(self, conn: ManagedConnection) -> None:
        conn.owner = self
        conn.generation = self._generation
        # Not all at once: programs that were started together would reconnect together for ever.
        life = random.uniform(1 - LIFETIME_JITTER, 1) * self.settings.max_lifetime
        conn.expires_at = monotonic() + life
        conn.cancel_timeout = self.settings.cancel_timeout
        self.connections.add(conn)
        self._evidence.notifier.notify()
