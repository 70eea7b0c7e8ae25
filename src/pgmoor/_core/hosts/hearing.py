"""When something was last heard of a host, whatever it was. Pure.

Its probe's answer is only one of the signs of life.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

NEVER = float("-inf")
# Seconds until what was delivered and never answered is given up for lost. A pooler forgets a
# client that waits after as long (PgBouncer's `query_wait_timeout`).
LOST_AFTER = 120.0
ROUND_TRIPS = 3.0  # that an answer may take, as they were measured


def patience(least: float, round_trip: float, most: float) -> float:
    """Return the seconds that a host is given for one answer, over a path as it was measured."""
    return max(least, min(ROUND_TRIPS * round_trip, most))


class Hearing:
    """What everybody has heard of one host; instants are monotonic."""

    __slots__ = ("dial_at", "statement_at")

    def __init__(self) -> None:
        self.statement_at: float = NEVER  # a statement on a connection of a pool was answered
        self.dial_at: float = NEVER  # something was received during a dial

    def since(self, asked_at: float) -> bool:
        """Return whether anything was heard after *asked_at*."""
        return self.statement_at > asked_at or self.dial_at > asked_at


class Hearings:
    """The hearing of each host, by the hosts' indices."""

    def __init__(self) -> None:
        self._all: dict[int, Hearing] = {}

    def of(self, index: int) -> Hearing:
        """Return a host's hearing."""
        return self._all.setdefault(index, Hearing())

    def forget(self, is_known: Callable[[int], bool]) -> None:
        """Forget the hosts that are not known any more."""
        self._all = {index: heard for index, heard in self._all.items() if is_known(index)}
