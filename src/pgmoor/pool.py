"""One host's `AsyncConnectionPool`, from the host being chosen to its being left.

It knows its connections and what happens to each; who gets one is decided in `checkout`.
"""

from __future__ import annotations

import asyncio
import logging
import random
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, Any

from psycopg import errors
from psycopg_pool import AsyncConnectionPool, PoolClosed, PoolTimeout

from .connection import BAD, IDLE, ManagedConnection, managed
from .dial import Dialler
from .fuse import Fuse
from .health import Holder
from .instruments import OneMore
from .logs import fields
from .overflow import Overflow
from .quiet import SaidElsewhere
from .sqlstate import Failure, FailureKind

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from psycopg import AsyncConnection

    from .access import Access
    from .config import Settings
    from .hosts import Host, Observation
    from .instruments import Instrument
    from .sizes import Sizes

logger = logging.getLogger("pgmoor.pool")
logging.getLogger("psycopg.pool").addFilter(SaidElsewhere())

LIFETIME_JITTER = 0.1
DEFIANT = 0.1  # seconds for a task that is cancelled to end
FOR_EVER = 1e9  # seconds: what psycopg_pool is told where the decision is made here
SHRINK_EVERY = 1.0  # seconds: with max_idle=0 only `resize()` leaves more than `min_size` idle
CHECK_GRACE = 0.2  # seconds: more than a fuse takes that burns late


@dataclass(frozen=True, slots=True, kw_only=True)
class Hooks:
    """What a pool asks of, and tells, the rest of the manager."""

    instruments: list[Instrument]
    dials: Instrument  # counts them
    observe: Callable[[Observation], None]
    accepts: Callable[[Observation], Failure | None]
    dial_failed: Callable[[Host, Failure], None]
    trouble: Callable[[ManagedConnection, errors.Error], None]
    give_back: Callable[[ManagedConnection], Awaitable[None]]
    changed: Callable[[], None]  # a connection was made, or one came back to a pool that was left


class HostPool:
    """The connections to one host while it is in use."""

    def __init__(
        self,
        settings: Settings,
        access: Access,
        host: Host,
        hooks: Hooks,
        *,
        connection_class: type[AsyncConnection[Any]],
        configure: Callable[[Any], Awaitable[None]] | None,
        check: Callable[[Any], Awaitable[None]] | None,
        reset: Callable[[Any], Awaitable[None]] | None,
        sizes: Sizes,
    ) -> None:
        self.host = host
        self.settings = settings
        self.close_returns = settings.close_returns
        self.sizes = sizes
        self.connections: set[ManagedConnection] = set()
        self.idle = 0  # connections that `take()` returns without waiting
        self.used = 0
        self.in_line = 0  # of our own takers, who wait in psycopg_pool's queue
        self.left: str | None = None  # why the host was left
        self.feeder: asyncio.Task[None] | None = None
        self._hooks = hooks
        self.needs_reset = reset is not None  # connections that come back are to be reset first
        self._check = check
        self._reset = reset
        self._generation = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._class = managed(connection_class)
        self._dialler = Dialler(
            settings,
            host,
            access,
            observe=hooks.observe,
            accepts=hooks.accepts,
            adopt=self._adopt,
            failed=hooks.dial_failed,
            configure=configure,
            instruments=OneMore(hooks.instruments, hooks.dials),
        )
        self.overflow = Overflow(self, lambda wanted: self._dialler.dial(self._class, wanted))
        self.inner: AsyncConnectionPool[Any] = AsyncConnectionPool(
            connection_class=self._class,
            kwargs={"dialler": self._dialler},
            min_size=sizes.min_size,
            max_size=max(sizes.kept, 1),
            open=False,
            name=f"{settings.name}-{host.label}",
            timeout=settings.timeout,
            max_lifetime=FOR_EVER,
            max_idle=settings.max_idle or SHRINK_EVERY,
            # A worker makes one connection at a time, for as long as it takes, and does little
            # else: returns don't need it, as rolling back and `reset` are done here.
            num_workers=settings.num_workers,
        )

    # -- life ----------------------------------------------------------------------------------

    async def open(self) -> None:
        """Begin to fill the pool up to `min_size`, a few dials at a time."""
        await self.inner.open()

    def leave(self, reason: str, *, abort: bool) -> None:
        """Stop handing out connections; with *abort*, cut those that are held, too.

        Idle connections close at once, held ones when they come back. Returns without waiting.
        """
        if self.left is None:
            self.left = reason
            self._dialler.leave()
            self.spawn(self.inner.close(timeout=self.settings.close_timeout), "close")
        if abort:
            for conn in tuple(self.connections):
                conn.abort(self.host.label, reason)

    async def aclose(self, timeout: float) -> None:
        """Wait until all that `leave()` began has ended, for *timeout* seconds; then end it."""
        me = asyncio.current_task()
        if tasks := {task for task in self._tasks if task is not me}:
            _, late = await asyncio.wait(tasks, timeout=timeout)
            for task in late:
                name = task.get_name()
                extra = self._fields("TaskCancelled", task=name, timeout=timeout)
                logger.warning(
                    "%s did not end within %.1f s; cancelled", name, timeout, extra=extra
                )
                task.cancel()
            if late:
                await asyncio.wait(late, timeout=min(timeout, DEFIANT))

    @property
    def busy(self) -> bool:
        """Whether work of this pool is still under way."""
        return bool(self._tasks)

    def spawn(self, work: Coroutine[Any, Any, None], what: str) -> asyncio.Task[None]:
        """Run *work* in a task that this pool owns."""
        task = asyncio.create_task(work, name=f"pgmoor-{self.host.label}-{what}")
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            extra = self._fields("InternalError", task=task.get_name())
            logger.error("%s failed", task.get_name(), exc_info=error, extra=extra)

    async def resize(self, sizes: Sizes) -> None:
        """Change the limits. What is beyond them and unused is closed, one each `max_idle`."""
        self.sizes = sizes
        await self._fit()
        if self.in_line:
            # psycopg_pool grows when somebody joins its queue, or here; nothing in it is idle now.
            await self.inner.check()

    async def _fit(self) -> None:
        """Tell psycopg_pool its limits, and have it make what is missing to `min_size`.

        It makes as many as its own minimum is raised by, however many there are. So that one is
        raised only as connections are missing, now or when `forget()` is called.
        """
        least = self.sizes.min_size
        made = self.inner.get_stats()["pool_size"] + self.overflow.count
        least = min(least, self.inner.min_size + max(least - made, 0))
        await self.inner.resize(least, max(self.sizes.kept, 1))

    # -- connections in and out ------------------------------------------------------------------

    @property
    def stocked(self) -> bool:
        """Whether `take()` would not wait: `idle` leaves out what has never been lent."""
        return bool(self.inner.get_stats()["pool_available"])

    async def take(self, timeout: float) -> ManagedConnection:
        """Take a connection out of the pool; at once while `idle` is not 0.

        Raises `PoolClosed` when the host is left, `PoolTimeout` after *timeout* seconds.
        """
        self.in_line += 1
        try:
            conn: ManagedConnection = await self.inner.getconn(timeout)
        finally:
            self.in_line -= 1
        if conn.counted_idle:
            conn.counted_idle = False
            self.idle -= 1
        return conn

    async def give(self, conn: ManagedConnection) -> None:
        """Put a connection back into the pool; a broken one is replaced. Does not wait.

        One beyond those that may lie idle is closed, unless it can stay in another's place.
        """
        if conn.extra and not self.overflow.keep(conn):
            conn.discard()
            if self.left is not None:
                self._hooks.changed()
            return
        if monotonic() >= conn.expires_at:
            conn.discard()
        if conn.pgconn.status == BAD:
            self.forget(conn)
        elif not self.in_line and self.left is None:
            # One of our takers in line would get it, and it would not lie idle.
            conn.counted_idle = True
            self.idle += 1
        conn.idle_since = monotonic()
        if self.in_line:
            # It may have to wait for a lock of the one in line (Python 3.11), and whoever were
            # cancelled there would lose the connection.
            self.spawn(self.inner.putconn(conn), "return")
        else:
            await self.inner.putconn(conn)
        if self.left is not None:
            self._hooks.changed()

    async def give_back(self, conn: ManagedConnection) -> None:
        """Return a connection that its holder has closed (`close_returns`)."""
        await self._hooks.give_back(conn)

    def hold(self, conn: ManagedConnection) -> None:
        """Note that the current task holds the connection from now on."""
        conn.lease += 1
        conn.holder = asyncio.current_task()
        conn.held_since = monotonic()
        self.used += 1

    def forget(self, conn: ManagedConnection) -> None:
        """Strike a connection off the list: it is closed or about to be."""
        self.connections.discard(conn)
        if conn.counted_idle:
            conn.counted_idle = False
            self.idle -= 1
        if self.inner.min_size < self.sizes.min_size and self.left is None:
            self.spawn(self._fit(), "fit")

    def aborted(self) -> None:
        """Note that a connection was cut."""
        for instrument in self._hooks.instruments:
            instrument.aborted(self.host.label)

    def reusable(self, conn: ManagedConnection) -> bool:
        """Return whether the next caller may have the connection as it is."""
        return (
            conn.pgconn.transaction_status == IDLE
            and self.left is None
            and conn.generation == self._generation
            and monotonic() < conn.expires_at
        )

    async def tidy(self, conn: ManagedConnection) -> None:
        """Bring a connection that came back in a transaction to rest, in bounded time."""
        limit = self.settings.cancel_timeout
        try:
            async with asyncio.timeout(2 * limit):
                with Fuse(conn, limit, f"no answer to a rollback within {limit:g} s"):
                    await self._bring_to_rest(conn)
        except Exception as error:  # noqa: BLE001  `reset` is the user's and may raise anything
            kind = type(error).__name__
            extra = self._fields("ConnectionDropped", reason=kind)
            logger.warning(
                "a returned connection to %s is dropped: %s", self.host, kind, extra=extra
            )
            conn.discard()
        if conn.pgconn.transaction_status != IDLE:
            conn.discard()

    async def _bring_to_rest(self, conn: ManagedConnection) -> None:
        if conn.info.transaction_status.name == "ACTIVE":
            conn.abort(self.host.label, "it was given back while a query was running on it")
            async with conn.lock:  # until that query's task has met the error
                return
        if conn.info.transaction_status.name in ("INTRANS", "INERROR"):
            await conn.rollback()
        if self._reset is not None and conn.pgconn.transaction_status == IDLE:
            await self._reset(conn)

    # -- what is known of them -------------------------------------------------------------------

    async def verify(self, conn: ManagedConnection, limit: float | None = None) -> bool:
        """Return whether a connection works, by a round trip within `health_timeout`.

        One that does not answer condemns all that lie idle: each would cost another time-out.
        With a shorter *limit* it condemns itself only.
        """
        patience = self.settings.health_timeout
        hasty = limit is not None and limit < patience
        try:
            await self._ask(conn, limit if hasty and limit is not None else patience)
        except TimeoutError:
            conn.discard()
            if self.left is None and not hasty:
                logger.info(
                    "a connection to %s does not answer; renewing all idle ones",
                    self.host,
                    extra=self._fields("PoolRenewed"),
                )
                await self.drain()
            return False
        except errors.Error:
            return False
        finally:
            if conn.pgconn.transaction_status != IDLE:
                conn.discard()
        return conn.pgconn.status != BAD

    async def _ask(self, conn: ManagedConnection, limit: float) -> None:
        """Make a round trip, by the user's `check` if there is one."""
        if self._check is None or not conn.quiet():
            await conn.ping(limit)
        if self._check is None:
            return
        with Fuse(conn, limit, f"no end of `check` within {limit:g} s") as fuse:
            try:
                async with asyncio.timeout(limit + CHECK_GRACE):  # it may wait for something else
                    await self._check(conn)
                    if conn.pgconn.transaction_status != IDLE:
                        await conn.rollback()
            except Exception as error:  # noqa: BLE001  `check` is the user's
                if fuse.burnt:
                    raise TimeoutError from None
                self._check_failed(conn, error)

    def _check_failed(self, conn: ManagedConnection, error: Exception) -> None:
        """Drop a connection that failed the user's `check`; say so if it was a new one."""
        words = f"`check` raised {type(error).__name__}"
        extra = self._fields("CheckFailed", reason=words)
        logger.info("a connection to %s: %s", self.host, words, extra=extra)
        if conn.lease == 0 and conn.pgconn.status != BAD:
            self._hooks.dial_failed(self.host, Failure(FailureKind.OTHER, words))
        conn.discard()

    async def drain(self) -> None:
        """Renew all connections: idle ones now, held ones when they come back."""
        self._generation += 1
        await self.inner.drain()

    async def check(self) -> None:
        """Ping every connection that lies idle, one at a time; broken ones are replaced."""
        began = monotonic()
        while (conn := await self.take_idle_since(began)) is not None:
            try:
                await self.verify(conn)
            finally:
                await self.give(conn)

    def hurry(self) -> None:
        """Begin pending dials anew: the host has just answered again."""
        self._dialler.hurry()

    def oldest_idle(self) -> float | None:
        """Return since when the longest idle connection has been so (monotonic), or None."""
        return min(
            (conn.idle_since for conn in self.connections if conn.holder is None), default=None
        )

    async def take_idle_since(self, limit: float) -> ManagedConnection | None:
        """Take a connection that has been idle since before *limit*, or None. Never waits long."""
        oldest = self.oldest_idle()
        if self.left is not None or oldest is None or oldest > limit:
            return None
        if not self.stocked:
            return None  # it is on its way to or from a holder
        try:
            conn = await self.take(0.01)
        except (PoolClosed, PoolTimeout):
            return None
        if conn.idle_since > limit:
            await self.give(conn)
            return None
        return conn

    def holders(self, most: int = 3) -> tuple[Holder, ...]:
        """Return who has held connections longest."""
        now = monotonic()
        held = sorted((c for c in self.connections if c.holder), key=lambda c: c.held_since)
        return tuple(
            Holder(c.holder.get_name() if c.holder else "no task", now - c.held_since)
            for c in held[:most]
        )

    def _fields(self, event: str, **values: str | float | None) -> dict[str, object]:
        return fields(event, self.settings.name, host=self.host.label, **values)

    def _adopt(self, conn: ManagedConnection) -> None:
        conn.host_pool = self
        conn.generation = self._generation
        # Not all at once: a fleet that was started together would reconnect together for ever.
        life = random.uniform(1 - LIFETIME_JITTER, 1) * self.settings.max_lifetime
        conn.expires_at = monotonic() + life
        conn.cancel_timeout = self.settings.cancel_timeout
        conn.on_trouble = self._hooks.trouble
        self.connections.add(conn)
        self._hooks.changed()
