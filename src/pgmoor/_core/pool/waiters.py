"""The callers who wait for a connection, first come, first served."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import TYPE_CHECKING

from pgmoor._core.connection.managed import ManagedConnection

if TYPE_CHECKING:
    from collections.abc import Callable

Waiter = asyncio.Future[ManagedConnection]


class WaiterQueue:
    """A queue of futures, each of which gets a connection or an exception."""

    def __init__(self) -> None:
        self.waiters: OrderedDict[Waiter, int] = OrderedDict()  # and when each of them came
        self.added: int = 0  # in all
        self._arrivals = 0

    def __len__(self) -> int:
        return len(self.waiters)

    def arrive(self) -> int:
        """Return a caller's place, for `add()`; it keeps it however often it waits."""
        self._arrivals += 1
        return self._arrivals

    def add(self, place: int) -> Waiter:
        """Add a waiter before all who came later."""
        waiter: Waiter = asyncio.get_running_loop().create_future()
        last = next(reversed(self.waiters.values()), 0)
        self.waiters[waiter] = place
        if place < last:  # it has got a connection before, which was of no use
            earlier = [other for other, its in self.waiters.items() if its <= place]
            for other in reversed(earlier):
                self.waiters.move_to_end(other, last=False)
        self.added += 1
        return waiter

    def remove(self, waiter: Waiter) -> None:
        """Cancel a waiter and remove it, if it is still in the queue."""
        waiter.cancel()
        self.waiters.pop(waiter, None)

    def hand_over(self, conn: ManagedConnection) -> bool:
        """Give a connection to the first waiter; return whether there was one."""
        while self.waiters:
            waiter, _ = self.waiters.popitem(last=False)
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
