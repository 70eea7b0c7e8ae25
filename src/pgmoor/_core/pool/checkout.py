"""Who gets a connection: what a checkout and a return cost, and how callers wait.

The queue belongs to the manager and not to a host: callers keep their places in a failover.
"""

from __future__ import annotations

import asyncio
from asyncio import get_running_loop
from time import monotonic
from typing import TYPE_CHECKING, cast

from pgmoor._core.connection.abortable import BAD
from pgmoor._core.reporting.counters import Counters
from pgmoor._core.reporting.instrument_list import ended
from pgmoor._core.reporting.saturation import Saturation
from pgmoor._core.util.backoff import delays
from pgmoor.errors import PoolExhausted, TooManyRequests
from pgmoor.health import PoolFigures

from .fate import CLOSE, RESET, REUSE
from .feeder import PATIENCE, Feeder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

    from pgmoor._core.connection.managed import ManagedConnection
    from pgmoor._core.settings.sizes import Sizes
    from pgmoor._core.state.live import LiveState

    from .fate import Fate
    from .host_pool import HostPool
    from .waiters import Waiter, WaiterQueue

IDLE = 0  # pq.TransactionStatus.IDLE; comparing with the enum's member costs more than the rest
LONGEST_WAIT = 1e9  # seconds


class CheckoutQueue:
    """Hands connections of the pool in use to callers, first come, first served."""

    def __init__(
        self,
        live: LiveState,
        *,
        checks: bool,
        unusable: Callable[[], Exception | None],
    ) -> None:
        self.counters: Counters = Counters()
        self.feeder: Feeder = Feeder()
        self.waiting: WaiterQueue = self.feeder.waiting
        self.sizes: Sizes = live.settings.sizes
        self._waiters = self.waiting.waiters  # empty while nobody waits
        self._loop: asyncio.AbstractEventLoop | None = None
        self._settings = live.settings
        self._evidence = live.evidence
        self._availability = live.availability
        self._checks = checks
        # With a `check` of the user's, every checkout runs it, however young the connection.
        self._validate_after = -1.0 if checks else live.settings.validate_after
        self._instruments = live.instruments
        self._saturation = Saturation(live.reporter)
        self._unusable = unusable  # why the manager can't be used at all, if so

    @property
    def pool(self) -> HostPool | None:
        """The pool that callers are served from."""
        return self.feeder.pool

    def open(self) -> None:
        """Serve the running event loop, and no other."""
        self._loop = asyncio.get_running_loop()

    # -- acquiring -----------------------------------------------------------------------------

    def checkout(self, timeout: float | None) -> Checkout:
        """Return a context manager that lends one connection."""
        return Checkout(self, timeout)

    async def acquire(self, timeout: float | None) -> ManagedConnection:
        """Return a connection that works, within *timeout* seconds.

        Raises `PoolExhausted`, `NoHostAvailable`, `TooManyRequests` or `ManagerClosed`.
        """
        if timeout is None:
            timeout = self._settings.timeout
        self.counters.requests_num += 1
        pool = self.feeder.pool
        if pool is None or self._waiters or get_running_loop() is not self._loop:
            return await self._acquire_slowly(timeout, None)
        if pool.ready:
            conn = pool.ready.pop()
        elif pool.stored:  # then this neither suspends nor fails
            conn = await pool.take_stored(PATIENCE)
        else:
            return await self._acquire_slowly(timeout, None)
        now = monotonic()
        fresh = now - conn.idle_since < self._validate_after
        if fresh and conn.is_at_rest() and not conn.poll(0):
            pool.lend(conn, now)
            for instrument in self._instruments:
                instrument.checked_out(0.0)
            return conn
        return await self._acquire_slowly(timeout, conn)

    async def _acquire_slowly(
        self, timeout: float, conn: ManagedConnection | None
    ) -> ManagedConnection:
        began = monotonic()
        deadline = began + timeout
        ends = [instrument.waiting() for instrument in self._instruments]
        waits: Iterator[float] | None = None
        waited = False
        try:
            while True:
                if conn is None:
                    conn = await self._next(deadline, timeout, again=waited)
                    waited = True
                new = conn.lease == 0
                if await self._test_and_lend(conn, deadline):
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

    async def _test_and_lend(self, conn: ManagedConnection, deadline: float) -> bool:
        """Test a connection just taken; lend it when it works, else have it replaced."""
        pool = pool_of(conn)
        now = monotonic()
        alive = conn.pgconn.status != BAD
        if alive and not conn.is_at_rest():
            pool.verifier.drop(conn, "it was used after its return")
            alive = False
        works = alive and not conn.has_unread() and now - conn.idle_since < self._validate_after
        if alive and not works:
            try:
                works = await pool.verify(conn, max(deadline - now, 0.01))
            except BaseException:
                await self.feeder.place(pool, conn)
                raise
        if works and pool.retired_because is None:
            pool.lend(conn, monotonic())
            self.feeder.overflow(pool)  # perhaps it was the last idle one
            return True
        if not works:
            self.counters.connections_lost += 1
        await self.feeder.place(pool, conn)
        return False

    async def _next(self, deadline: float, timeout: float, *, again: bool) -> ManagedConnection:
        """Wait in the queue for a connection, unless a new one is ready.

        *again*: the caller has waited before, and got one that did not work.
        """
        if refusal := self._unusable() or self._availability.refusal():
            raise refusal
        pool = self.feeder.pool
        if pool is not None and not self._waiters and not pool.in_line and pool.stocked:
            return await pool.take(PATIENCE)  # which does not wait
        limit = self._settings.max_waiting
        if limit and len(self.waiting) >= limit and not again:
            refused = TooManyRequests(self.figures())
            if self._missing_host(0.0) is None:
                self._saturation.refused(refused)
            raise refused
        waiter = self.waiting.add(first=again)
        self.counters.requests_queued += 1
        began = monotonic()
        delay = min(LONGEST_WAIT, deadline - began)  # a number, whatever *timeout* is
        timer = waiter.get_loop().call_later(delay, self._expire, waiter, timeout)
        self.feeder.feed()
        try:
            return await waiter
        except asyncio.CancelledError:
            # The connection may have been handed over in the same turn of the loop.
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                conn = waiter.result()
                await self.feeder.place(pool_of(conn), conn)
            raise
        finally:
            timer.cancel()
            if not waiter.done() or waiter.cancelled() or waiter.exception() is not None:
                self.waiting.remove(waiter)
            self.counters.requests_wait += monotonic() - began

    def _expire(self, waiter: Waiter, timeout: float) -> None:
        if waiter.done():
            return
        self._evidence.suspect("a caller got no connection in time")
        for instrument in self._instruments:
            instrument.timed_out()
        error: Exception | None = self._missing_host(timeout)
        if error is None:
            holders = self.pool.holders() if self.pool else ()
            error = PoolExhausted(timeout, self.figures(), holders)
            self._saturation.refused(error)
        waiter.set_exception(error)

    def _missing_host(self, timeout: float) -> Exception | None:
        pool = self.feeder.pool
        made, used = (len(pool.connections), pool.used) if pool is not None else (0, 0)
        return self._availability.missing_host(timeout, made=made, used=used)

    # -- releasing -----------------------------------------------------------------------------

    async def release(self, conn: ManagedConnection) -> None:
        """Take a connection back from its holder and pass it on.

        One in a transaction is rolled back first. That goes on by itself when the caller is
        cancelled meanwhile, and is bounded by `cancel_timeout`.
        """
        pool: HostPool = conn.owner  # type: ignore[assignment] # a cast costs
        now = monotonic()
        held = now - conn.held_since
        self.counters.usage += held
        conn.holder = None  # from here on it can't be given back a second time
        for instrument in self._instruments:
            instrument.returned(held)
        fate = pool.fate(conn, now)
        if fate is REUSE and not self._waiters:
            pool.used -= 1
            pending = pool.put(conn, fate, now)
            if pending is not None:
                await pending
        elif fate is RESET:
            task = pool.tasks.spawn(self._reset(pool, conn), "reset")
            await asyncio.wait([task])
        else:
            await self._put_back(pool, conn, fate, now)

    async def _reset(self, pool: HostPool, conn: ManagedConnection) -> None:
        try:
            await pool.verifier.reset(conn)
        finally:
            now = monotonic()
            await self._put_back(pool, conn, pool.fate(conn, now, returned=False), now)

    async def _put_back(
        self, pool: HostPool, conn: ManagedConnection, fate: Fate, now: float
    ) -> None:
        pool.used -= 1
        if fate is CLOSE and conn.pgconn.status == BAD:
            self.counters.returns_bad += 1
        await self.feeder.place_by_fate(pool, conn, fate, now)

    # -- what is known -------------------------------------------------------------------------

    def filled(self) -> bool:
        """Return whether the pool holds `min_size` connections."""
        pool = self.feeder.pool
        return pool is not None and len(pool.connections) >= self.sizes.min_size

    def figures(self) -> PoolFigures:
        """Return the pool's figures as they are now."""
        pool = self.feeder.pool
        used = pool.used if pool is not None else 0
        # One that its holder has closed takes a place until it comes back.
        size = max(len(pool.connections), used) if pool is not None else 0
        return PoolFigures(
            size=size,
            used=used,
            idle=max(size - used, 0),
            waiting=len(self.waiting),
            min_size=self.sizes.min_size,
            max_size=self.sizes.max_size,
            max_overflow=self.sizes.max_overflow,
            kept=self.sizes.kept,
        )


def pool_of(conn: ManagedConnection) -> HostPool:
    """Return the pool of a connection that this package has lent."""
    return cast("HostPool", conn.owner)


class Checkout:
    """Lends one connection for one `async with` block."""

    __slots__ = ("_conn", "_entered", "_lease", "_queue", "_timeout")

    def __init__(self, queue: CheckoutQueue, timeout: float | None) -> None:
        self._queue = queue
        self._timeout = timeout
        self._entered = False

    async def __aenter__(self) -> ManagedConnection:
        if self._entered:
            raise RuntimeError("connection() lends one connection, once; call it for each block")
        self._entered = True
        conn = self._conn = await self._queue.acquire(self._timeout)
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
            await self._queue.release(conn)
