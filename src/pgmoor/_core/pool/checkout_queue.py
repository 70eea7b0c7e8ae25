"""Who gets a connection: what a checkout and a return cost, and how callers wait.

The queue belongs to the manager and not to a host: callers keep their places in a failover.
"""

from __future__ import annotations

import asyncio
from asyncio import current_task, get_running_loop
from time import monotonic
from typing import TYPE_CHECKING, Any

from pgmoor._core.connection.abortable import BAD
from pgmoor._core.reporting.counters import Counters
from pgmoor._core.reporting.instrument_list import ended
from pgmoor._core.reporting.saturation import Saturation
from pgmoor._core.util.backoff import delays
from pgmoor._core.util.weak_methods import weakly
from pgmoor.errors import PoolExhausted, TooManyRequests

from .checkout import Checkout
from .fate import CLOSE, RESET, REUSE
from .host_pool import pool_of
from .lending_pause import LendingPause
from .waiters import WaiterQueue

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pgmoor._core.connection.managed import ManagedConnection
    from pgmoor._core.state.live import LiveState
    from pgmoor.health import PoolFigures

    from .fate import Fate
    from .host_pool import HostPool
    from .ledger import Ledger
    from .waiters import Waiter


class CheckoutQueue:
    """Hands connections of the pool in use to callers, first come, first served."""

    def __init__(
        self,
        live: LiveState,
        ledger: Ledger,
        *,
        checks: bool,
        unusable: Callable[[], Exception | None],
    ) -> None:
        self.counters: Counters = Counters()
        self.waiting: WaiterQueue = WaiterQueue(weakly(self._expire))
        self.pool: HostPool | None = None  # the one that callers are served from
        self.ledger: Ledger = ledger
        self._waiters = self.waiting.waiters  # empty while nobody waits
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pause = LendingPause(ledger, weakly(self._after_pause))
        self._settings = live.settings
        self._phase = live.phase
        self._evidence = live.evidence
        self._availability = live.availability
        self._checks = checks
        # With a `check` of the user's, every checkout runs it, however young the connection.
        self._validate_after = -1.0 if checks else live.settings.validate_after
        self._instruments = live.instruments
        self._saturation = Saturation(live.reporter)
        self._unusable = unusable  # why the manager can't be used at all, if so

    def open(self) -> None:
        """Serve the running event loop, and no other."""
        self._loop = asyncio.get_running_loop()

    def serve_from(self, pool: HostPool | None) -> None:
        """Serve callers from *pool* from now on."""
        if self.pool is not None:
            self.pool.serving = False
        self.pool = pool
        self._pause.end()
        if pool is not None:
            pool.serving = True
            self.feed()

    # -- pausing -------------------------------------------------------------------------------

    def pause(self, because: str) -> None:
        """Lend none until the host in use has answered; see `lending_pause`."""
        if self._loop is not None:
            self._pause.begin(self._loop, because)

    def answered(self, asked_at: float) -> None:
        """Lend again, if that was paused: the host in use, asked then, still qualifies."""
        self._pause.answered(asked_at)

    @property
    def pausing(self) -> bool:
        """Whether nothing is lent at this moment, however much is ready."""
        return self._pause.because is not None

    def _after_pause(self) -> None:
        self.feed()
        if self.pool is not None:
            self.pool.resized()  # what was kept for callers who wait no longer is closed

    # -- acquiring -----------------------------------------------------------------------------

    def checkout(self, timeout: float | None) -> Checkout[Any]:
        """Return a context manager that lends one connection."""
        return Checkout(self, timeout)

    async def acquire(self, timeout: float | None) -> ManagedConnection:
        """Return a connection that works, within *timeout* seconds.

        Raises `PoolExhausted`, `NoHostAvailable`, `TooManyRequests` or `ManagerClosed`.
        """
        self.counters.requests_num += 1
        pool = self.pool
        ledger = self.ledger
        loop = get_running_loop()
        if (
            pool is None
            or self._waiters
            or not pool.ready
            or ledger.held >= ledger.limit
            or loop is not self._loop
        ):
            return await self._acquire_slowly(timeout, None)
        conn = pool.ready.pop()
        now = monotonic()
        fresh = now - conn.idle_since < self._validate_after
        if fresh and conn.is_at_rest() and not conn.poll(0):
            pool.lend(conn, now, current_task(loop))
            for instrument in self._instruments:
                instrument.checked_out(0.0)
            return conn
        return await self._acquire_slowly(timeout, conn)

    async def _acquire_slowly(
        self, timeout: float | None, conn: ManagedConnection | None
    ) -> ManagedConnection:
        if timeout is None:
            timeout = self._settings.timeout
        began = self._phase.used_at = monotonic()
        deadline = began + timeout
        ends = [instrument.waiting() for instrument in self._instruments]
        waits: Iterator[float] | None = None
        place = self.waiting.arrive()
        had_one = conn is not None
        try:
            while True:
                if conn is None:
                    conn = await self._next(deadline, timeout, place, again=had_one)
                    had_one = True
                new = conn.lease == 0
                if await self._test_and_lend(conn, deadline):
                    break
                conn = None
                # If one has not passed `check`, the next one will hardly do.
                if new and self._checks and not self.pausing:
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
        works = alive and not conn.has_unread() and now - conn.heard_at() < self._validate_after
        if alive and not works:
            try:
                works = await pool.verify(conn, max(deadline - now, 0.01))
            except BaseException:
                self.place(conn)
                raise
        if works and pool.serving and self.ledger.held < self.ledger.limit:
            pool.lend(conn, monotonic(), current_task())
            return True
        if not works:
            self.lost(1)
        self.place(conn)
        return False

    async def _next(
        self, deadline: float, timeout: float, place: int, *, again: bool
    ) -> ManagedConnection:
        """Wait in the queue, in one's *place*, for a connection, unless one is ready.

        *again*: the caller has got one before that it could not have.
        """
        if refusal := self._unusable() or self._availability.refusal():
            raise refusal
        self._phase.want()
        if not self._waiters and (conn := self._take_ready()) is not None:
            return conn
        limit = self._settings.max_waiting
        if limit and len(self.waiting) >= limit and not again:
            refused = TooManyRequests(self.figures(), self._settings.name)
            if self._missing_host(0.0) is None:
                self._saturation.refused(refused)
            elif self.pausing:
                refused.add_note(f"none is lent at this moment: {self._pause.because}")
            raise refused
        waiter = self.waiting.add(place, deadline, timeout)
        self.counters.requests_queued += 1
        began = monotonic()
        if self.pool is not None:
            self.pool.fill()
        try:
            return await waiter
        except asyncio.CancelledError:
            # The connection may have been handed over in the same turn of the loop.
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                conn = waiter.result()
                self.place(conn)
            raise
        finally:
            if not waiter.done() or waiter.cancelled() or waiter.exception() is not None:
                self.waiting.remove(waiter)
            self.counters.requests_wait += monotonic() - began

    def _take_ready(self) -> ManagedConnection | None:
        """Take an idle connection, if there is one that may be lent."""
        pool, ledger = self.pool, self.ledger
        if pool is None or not pool.ready or ledger.held >= ledger.limit:
            return None
        return pool.ready.pop()

    def _expire(self, waiter: Waiter, timeout: float) -> None:
        self._evidence.suspect("a caller got no connection in time")
        for instrument in self._instruments:
            instrument.timed_out()
        error: Exception | None = self._missing_host(timeout)
        if error is None:
            figures, name = self.figures(), self._settings.name
            reason = self._availability.why_no_more(figures)
            error = PoolExhausted(timeout, figures, self.ledger.longest_holders(), name, reason)
            self._saturation.refused(error)
        waiter.set_exception(error)

    def _missing_host(self, timeout: float) -> Exception | None:
        pool = self.pool
        if self.pausing and pool and (pool.ready or pool.size < self.ledger.most):
            return self._availability.error(
                f"no connection of {self._settings.name!r} within {timeout:.2f} s:"
                f" {self._pause.because}"
            )
        made = pool.size if pool is not None else 0
        return self._availability.missing_host(timeout, made=made, used=self.ledger.held)

    # -- passing on ----------------------------------------------------------------------------

    def waiting_for(self, pool: object) -> int:
        """Return how many callers wait for a connection of *pool*."""
        return len(self._waiters) if pool is self.pool else 0

    def callers_so_far(self) -> int:
        """Return how many callers have had to wait so far."""
        return self.waiting.added

    def lost(self, count: int) -> None:
        """Count idle connections that turned out to be broken."""
        self.counters.connections_lost += count

    def place(self, conn: ManagedConnection) -> None:
        """Hand a connection that was taken but not lent to the first caller, or put it back."""
        pool = pool_of(conn)
        self._pass_on(pool, conn, pool.fate(conn, monotonic(), returned=False))

    def _pass_on(self, pool: HostPool, conn: ManagedConnection, fate: Fate) -> None:
        current = pool is self.pool
        room = self.ledger.held < self.ledger.limit
        wanted = self.pausing or (room and bool(self._waiters))
        pool.put(conn, fate, wanted=current and wanted)
        if self._waiters or not current:  # one of a host that was left makes room in this pool
            self.feed()

    def feed(self) -> None:
        """Hand what is ready to those who wait, and have made what is missing."""
        while self._waiters and (conn := self._take_ready()) is not None:
            if not self.waiting.hand_over(conn):
                self.place(conn)
        if self.pool is not None:
            self.pool.fill()

    # -- releasing -----------------------------------------------------------------------------

    async def release(self, conn: ManagedConnection) -> None:
        """Take a connection back from its holder and pass it on.

        One in a transaction is rolled back first. That goes on by itself when the caller is
        cancelled meanwhile, and is bounded by `cancel_timeout`.
        """
        pool: HostPool = conn.owner  # type: ignore[assignment] # a cast costs
        now = self._phase.used_at = monotonic()
        held = now - conn.held_since
        self.counters.usage += held
        conn.holder = None  # from here on it can't be given back a second time
        conn.idle_since = now
        for instrument in self._instruments:
            instrument.returned(held)
        fate = pool.fate(conn, now)
        if fate is RESET:
            task = pool.tasks.spawn(self._reset(pool, conn), "reset")
            await asyncio.wait([task])
        elif fate is REUSE and not self._waiters:
            self.ledger.held -= 1
            pool.put(conn, fate)
        else:
            self._put_back(pool, conn, fate)

    async def _reset(self, pool: HostPool, conn: ManagedConnection) -> None:
        try:
            await pool.verifier.reset(conn)
        finally:
            conn.idle_since = now = monotonic()
            self._put_back(pool, conn, pool.fate(conn, now, returned=False))

    def _put_back(self, pool: HostPool, conn: ManagedConnection, fate: Fate) -> None:
        self.ledger.returned(conn)
        if fate is CLOSE and conn.pgconn.status == BAD:
            self.counters.returns_bad += 1
        self._pass_on(pool, conn, fate)

    # -- what is known -------------------------------------------------------------------------

    def filled(self) -> bool:
        """Return whether the pool holds `min_size` connections."""
        return self.pool is not None and self.pool.size >= self.ledger.sizes.min_size

    def figures(self) -> PoolFigures:
        """Return the pool's figures as they are now."""
        return self.ledger.figures(len(self.waiting))
