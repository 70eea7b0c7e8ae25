"""The callers who wait for a connection, first come, first served, each until its deadline."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from contextvars import Context, copy_context
from heapq import heapify, heappop, heappush
from time import monotonic
from typing import TYPE_CHECKING

from pgmoor._core.connection.managed import ManagedConnection

if TYPE_CHECKING:
    from collections.abc import Callable

Waiter = asyncio.Future[ManagedConnection]

LONGEST_WAIT = 1e9  # seconds
SLACK = 16  # deadlines of callers who wait no longer are dropped when they outnumber the others


class WaiterQueue:
    """A queue of futures, each of which gets a connection or an exception.

    *expire* is called with a waiter and its timeout, in seconds, at its deadline, in its caller's
    context. One timer serves all: with one for each, thousands of them would slow down every other
    timer of the loop.
    """

    def __init__(self, expire: Callable[[Waiter, float], object]) -> None:
        self.waiters: OrderedDict[Waiter, int] = OrderedDict()  # and when each of them came
        self.added: int = 0  # in all
        self._arrivals = 0
        self._expire = expire
        self._deadlines: list[tuple[float, int, Waiter, float, Context]] = []  # a heap
        self._timer: asyncio.TimerHandle | None = None  # for the first of them, or an earlier one
        self._timer_at = 0.0

    def __len__(self) -> int:
        return len(self.waiters)

    def arrive(self) -> int:
        """Return a caller's place, for `add()`; it keeps it however often it waits."""
        self._arrivals += 1
        return self._arrivals

    def add(self, place: int, deadline: float, timeout: float) -> Waiter:
        """Add a waiter before all who came later.

        It waits until *deadline* (monotonic), which is *timeout* seconds after it came.
        """
        loop = asyncio.get_running_loop()
        waiter: Waiter = loop.create_future()
        last = next(reversed(self.waiters.values()), 0)
        self.waiters[waiter] = place
        if place < last:  # it has got a connection before, which was of no use
            earlier = [other for other, its in self.waiters.items() if its <= place]
            for other in reversed(earlier):
                self.waiters.move_to_end(other, last=False)
        self.added += 1
        # A number, whatever *timeout* is, by the clock of the loop's timers.
        due = loop.time() + min(LONGEST_WAIT, deadline - monotonic())
        if len(self._deadlines) > 2 * len(self.waiters) + SLACK:
            self._deadlines = [entry for entry in self._deadlines if not entry[2].done()]
            heapify(self._deadlines)
        heappush(self._deadlines, (due, self.added, waiter, timeout, copy_context()))
        if self._timer is None or due < self._timer_at:
            self._set_timer(loop, due)
        return waiter

    def remove(self, waiter: Waiter) -> None:
        """Cancel a waiter and remove it, if it is still in the queue."""
        waiter.cancel()
        self.waiters.pop(waiter, None)
        if not self.waiters:
            self._rest()

    def hand_over(self, conn: ManagedConnection) -> bool:
        """Give a connection to the first waiter; return whether there was one."""
        while self.waiters:
            waiter, _ = self.waiters.popitem(last=False)
            if not self.waiters:
                self._rest()
            if not waiter.done():
                waiter.set_result(conn)
                return True
        return False

    def fail_all(self, make: Callable[[], Exception]) -> None:
        """Give every waiter an exception now."""
        while self.waiters:
            waiter, _ = self.waiters.popitem(last=False)
            if not waiter.done():
                waiter.set_exception(make())
        self._rest()

    # -- deadlines -----------------------------------------------------------------------------

    def _set_timer(self, loop: asyncio.AbstractEventLoop, due: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = due
        self._timer = loop.call_at(due, self._fall_due, loop, context=Context())

    def _fall_due(self, loop: asyncio.AbstractEventLoop) -> None:
        """Expire those whose deadlines have come, and wait for the next one."""
        self._timer = None
        now = loop.time()
        while self._deadlines:
            due, _, waiter, timeout, context = self._deadlines[0]
            if not waiter.done() and due > now:
                self._set_timer(loop, due)
                return
            heappop(self._deadlines)
            if not waiter.done():
                context.run(self._expire, waiter, timeout)

    def _rest(self) -> None:
        """Forget all deadlines: nobody waits."""
        self._deadlines.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
