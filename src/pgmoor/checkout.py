"""Who gets a connection: the callers' queue, and what a checkout and a return cost.

The queue belongs to the manager and not to a host: callers keep their places in a failover.
"""

from __future__ import annotations

import asyncio
import logging
from asyncio import current_task, get_running_loop
from time import monotonic
from typing import TYPE_CHECKING

from psycopg_pool import PoolClosed, PoolTimeout

from .backoff import delays
from .connection import BAD, ManagedConnection
from .counters import Counters
from .errors import NoHostAvailable, PoolExhausted, TooManyRequests
from .instruments import Instrument, ended
from .line import Line, Place

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

    from .config import Settings
    from .health import PoolFigures
    from .pool import HostPool

logger = logging.getLogger("pgmoor.checkout")

IDLE = 0  # pq.TransactionStatus.IDLE; comparing with the enum's member costs more than the rest
LONGEST_WAIT = 1e9  # seconds
FEEDER_PATIENCE = 3600.0  # seconds; the feeder waits for as long as callers do


class Desk:
    """Hands connections of the current pool to callers, first come, first served."""

    def __init__(
        self,
        settings: Settings,
        *,
        checks: bool,
        instruments: list[Instrument],
        figures: Callable[[], PoolFigures],
        unavailable: Callable[[float], NoHostAvailable | None],
        refusal: Callable[[], Exception | None],
        timed_out: Callable[[], None],
        saturated: Callable[[PoolExhausted | TooManyRequests], None],
    ) -> None:
        self.pool: HostPool | None = None
        self.counters = Counters()
        self.waiting = Line()
        self._places = self.waiting.places  # empty while nobody waits
        self._loop: asyncio.AbstractEventLoop | None = None
        self._settings = settings
        self._checks = checks
        # The user's `check`, and not the age of a connection, decides at each checkout.
        self._validate_after = -1.0 if checks else settings.validate_after
        self._instruments = instruments
        self._figures = figures
        self._unavailable = unavailable  # why no host serves, when that is the reason
        self._refusal = refusal  # what to raise at once, without waiting
        self._timed_out = timed_out
        self._saturated = saturated

    def open(self) -> None:
        """Serve the running event loop, and no other."""
        self._loop = asyncio.get_running_loop()

    # -- taking --------------------------------------------------------------------------------

    def lend(self, timeout: float | None) -> Checkout:
        """Return a context manager that lends one connection."""
        return Checkout(self, timeout)

    async def take(self, timeout: float | None) -> ManagedConnection:
        """Return a connection that works, within *timeout* seconds.

        Raises `PoolExhausted`, `NoHostAvailable`, `TooManyRequests` or `ManagerClosed`.
        """
        if timeout is None:
            timeout = self._settings.timeout
        self.counters.requests_num += 1
        pool = self.pool
        if pool is None or not pool.idle or self._places or get_running_loop() is not self._loop:
            return await self._take_slowly(timeout, None)
        # While `idle` is not 0 this neither suspends nor fails.
        conn: ManagedConnection = await pool.inner.getconn(FEEDER_PATIENCE)
        if conn.counted_idle:
            conn.counted_idle = False
            pool.idle -= 1
        now = monotonic()
        if now - conn.idle_since < self._validate_after and not conn.poll(0):
            pool.used += 1
            conn.lease += 1
            conn.held_since = now
            conn.holder = current_task()
            for instrument in self._instruments:
                instrument.checked_out(0.0)
            return conn
        return await self._take_slowly(timeout, conn)

    async def _take_slowly(
        self, timeout: float, conn: ManagedConnection | None
    ) -> ManagedConnection:
        began = monotonic()
        deadline = began + timeout
        ends = [instrument.waiting() for instrument in self._instruments]
        waits: Iterator[float] | None = None
        try:
            while True:
                if conn is None:
                    conn = await self._next(deadline, timeout)
                new = conn.lease == 0
                if await self._works(conn, deadline):
                    break
                conn = None
                if new and self._checks:  # then the next one will hardly pass `check` either
                    waits = waits or delays(self._settings.backoff_base, self._settings.backoff_cap)
                    await asyncio.sleep(min(next(waits), max(deadline - monotonic(), 0.0)))
        except BaseException as error:
            self.counters.requests_errors += 1
            ended(ends, error)
            raise
        ended(ends, None)
        for instrument in self._instruments:
            instrument.checked_out(monotonic() - began)
        return conn

    async def _works(self, conn: ManagedConnection, deadline: float) -> bool:
        """Test a connection just taken; hold it when it works, else have it replaced."""
        pool = conn.host_pool
        assert pool is not None
        now = monotonic()
        alive = conn.pgconn.status != BAD
        works = alive and conn.quiet() and now - conn.idle_since < self._validate_after
        if alive and not works:
            try:
                works = await pool.verify(conn, max(deadline - now, 0.01))
            except BaseException:
                await self.restock(pool, conn)
                raise
        if works and pool.left is None:
            pool.hold(conn)
            self._overflow(pool)  # perhaps it was the last one that lay idle
            return True
        if not works:
            self.counters.connections_lost += 1
        await self.restock(pool, conn)
        return False

    async def _next(self, deadline: float, timeout: float) -> ManagedConnection:
        """Wait in the queue for a connection, unless a new one lies ready."""
        if refusal := self._refusal():
            raise refusal
        pool = self.pool
        if pool is not None and not self._places and not pool.in_line and pool.stocked:
            return await pool.take(FEEDER_PATIENCE)  # which does not wait
        limit = self._settings.max_waiting
        if limit and len(self.waiting) >= limit:
            refused = TooManyRequests(self._figures())
            if self._unavailable(0.0) is None:
                self._saturated(refused)
            raise refused
        place = self.waiting.join()
        self.counters.requests_queued += 1
        began = monotonic()
        delay = min(LONGEST_WAIT, deadline - began)  # a number, whatever *timeout* is
        timer = place.get_loop().call_later(delay, self._expire, place, timeout)
        self.feed()
        try:
            return await place
        except asyncio.CancelledError:
            # The connection may have been handed over in the same turn of the loop.
            if place.done() and not place.cancelled() and place.exception() is None:
                conn = place.result()
                assert conn.host_pool is not None
                await self.restock(conn.host_pool, conn)
            raise
        finally:
            timer.cancel()
            if not place.done() or place.cancelled() or place.exception() is not None:
                self.waiting.quit(place)
            self.counters.requests_wait += monotonic() - began

    def _expire(self, place: Place, timeout: float) -> None:
        if place.done():
            return
        self._timed_out()
        for instrument in self._instruments:
            instrument.timed_out()
        error: Exception | None = self._unavailable(timeout)
        if error is None:
            holders = self.pool.holders() if self.pool else ()
            error = PoolExhausted(timeout, self._figures(), holders)
            self._saturated(error)
        place.set_exception(error)

    # -- giving back ---------------------------------------------------------------------------

    async def give(self, conn: ManagedConnection) -> None:
        """Take a connection back from its holder and pass it on.

        A connection in a transaction is rolled back first. That work goes on by itself when the
        caller is cancelled meanwhile, and is bounded by `cancel_timeout`.
        """
        pool = conn.host_pool
        assert pool is not None
        now = monotonic()
        self.counters.usage += now - conn.held_since
        conn.holder = None  # from here on it can't be given back a second time
        for instrument in self._instruments:
            instrument.returned(now - conn.held_since)
        if conn.pgconn.transaction_status == IDLE and not pool.needs_reset:
            pool.used -= 1
            waited_for = self._places or pool.in_line
            if waited_for or pool.left is not None or conn.extra or now >= conn.expires_at:
                await self.restock(pool, conn)
                return
            conn.idle_since = now
            conn.counted_idle = True
            pool.idle += 1
            await pool.inner.putconn(conn)
        elif conn.pgconn.status == BAD:
            self.counters.returns_bad += 1
            pool.used -= 1
            await self.restock(pool, conn)
        else:
            task = pool.spawn(self._tidy_and_give(pool, conn), "tidy")
            await asyncio.wait([task])

    async def _tidy_and_give(self, pool: HostPool, conn: ManagedConnection) -> None:
        try:
            await pool.tidy(conn)
        finally:
            if conn.pgconn.status == BAD:
                self.counters.returns_bad += 1
            pool.used -= 1
            await self.restock(pool, conn)

    async def restock(self, pool: HostPool, conn: ManagedConnection) -> None:
        """Hand a connection to the first who waits, or put it into its pool. Never suspends."""
        if self._places and pool is self.pool and pool.reusable(conn) and self.waiting.offer(conn):
            return
        await pool.give(conn)
        if conn.extra:
            self.feed()  # there is room for another

    # -- feeding -------------------------------------------------------------------------------

    def serve_from(self, pool: HostPool | None) -> None:
        """Make *pool* the one that callers are served from."""
        self.pool = pool
        self.feed()

    def feed(self) -> None:
        """See to it that somebody brings connections to those who wait."""
        pool = self.pool
        if pool is None or not self._places or pool.left is not None:
            return
        if pool.feeder is None and pool.sizes.kept:
            pool.feeder = pool.spawn(self._bring(pool), "feeder")
        self._overflow(pool)

    def _overflow(self, pool: HostPool) -> None:
        while pool.overflow.wanted(len(self._places)):
            pool.overflow.reserve()
            pool.spawn(self._bring_extra(pool), "overflow")

    async def _bring_extra(self, pool: HostPool) -> None:
        """Make one connection more for those who wait, unless nobody does any more."""
        try:
            conn = await pool.overflow.make(self._watch_the_queue())
        except PoolClosed:
            return
        await self.restock(pool, conn)
        self.feed()

    def _watch_the_queue(self) -> Callable[[], bool]:
        """Return what tells whether anybody waits, or has done so since it was asked last.

        A dial that fails and is tried again keeps its backoff while callers come and go.
        """
        seen = self.counters.requests_queued

        def wanted() -> bool:
            nonlocal seen
            before, seen = seen, self.counters.requests_queued
            return bool(self._places) or seen != before

        return wanted

    async def _bring(self, pool: HostPool) -> None:
        """Take connections out of the pool for those who wait; let the pool grow meanwhile."""
        try:
            while self._places and pool is self.pool:
                try:
                    conn = await pool.take(FEEDER_PATIENCE)
                except PoolTimeout:
                    continue
                except PoolClosed:
                    return
                if pool is not self.pool or not self.waiting.offer(conn):
                    await pool.give(conn)
        finally:
            pool.feeder = None
            self.feed()


class Checkout:
    """Lends one connection for an `async with` block."""

    __slots__ = ("_conn", "_desk", "_lease", "_timeout")

    def __init__(self, desk: Desk, timeout: float | None) -> None:
        self._desk = desk
        self._timeout = timeout

    async def __aenter__(self) -> ManagedConnection:
        conn = self._conn = await self._desk.take(self._timeout)
        self._lease = conn.lease
        return conn

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        conn = self._conn
        if conn.holder is None or conn.lease != self._lease:
            return  # the block has given it back already, and perhaps another has it now
        try:
            if exc_type is None and conn.pgconn.transaction_status != IDLE and not conn.closed:
                await conn.commit()
        finally:
            await self._desk.give(conn)
