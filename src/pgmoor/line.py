"""The callers who wait for a connection, first come, first served."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from .connection import ManagedConnection

Place = asyncio.Future["ManagedConnection"]


class Line:
    """A line of callers; a place in it is a future that is given a connection or an exception."""

    def __init__(self) -> None:
        self.places: OrderedDict[Place, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self.places)

    def join(self) -> Place:
        """Take the last place."""
        place: Place = asyncio.get_running_loop().create_future()
        self.places[place] = None
        return place

    def quit(self, place: Place) -> None:
        """Give up a place, if it is still in the line."""
        place.cancel()
        self.places.pop(place, None)

    def offer(self, conn: ManagedConnection) -> bool:
        """Give a connection to the first who still waits; return whether there was one."""
        while self.places:
            place, _ = self.places.popitem(last=False)
            if not place.done():
                conn.idle_since = monotonic()
                place.set_result(conn)
                return True
        return False

    def fail_all(self, make: Callable[[], Exception]) -> None:
        """Let every caller meet an exception now."""
        while self.places:
            place, _ = self.places.popitem(last=False)
            if not place.done():
                place.set_exception(make())
