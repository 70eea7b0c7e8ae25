"""Detects that the same thing happens too often, and collects it for digests. Pure.

Instants are arguments.
"""

from __future__ import annotations

from collections import deque
from enum import Enum

MAX_LINES = 20  # in one digest; a phone shows no more


class Verdict(Enum):
    """What to do with one more occurrence."""

    SEND = "send"  # as a message of its own
    START_DIGESTS = "start digests"  # report that it flaps; digests follow
    COLLECT = "collect"  # for the next digest


class FlappingDetector:
    """Counts the occurrences of one kind, and collects them while they are too many."""

    def __init__(self, period: float, burst: int) -> None:
        self._period = period
        self._burst = burst
        self._recent: deque[float] = deque()  # instants, within the last period
        self._lines: list[str] = []
        self._left_out = 0
        self.due: float | None = None  # when the next digest is due; None: it does not flap

    @property
    def count(self) -> int:
        """How many occurrences there were within the last period."""
        return len(self._recent)

    @property
    def seconds(self) -> float:
        """The time from the first to the last of them."""
        return self._recent[-1] - self._recent[0] if self._recent else 0.0

    def record(self, now: float) -> Verdict:
        """Count one more occurrence; return what to do with it."""
        self._recent.append(now)
        while self._recent[0] <= now - self._period:
            self._recent.popleft()
        if self.due is not None:
            return Verdict.COLLECT
        if len(self._recent) <= self._burst:
            return Verdict.SEND
        self.due = now + self._period
        return Verdict.START_DIGESTS

    def collect(self, line: str) -> None:
        """Add a line to the next digest."""
        if len(self._lines) < MAX_LINES:
            self._lines.append(line)
        else:
            self._left_out += 1

    def take_lines(self) -> list[str]:
        """Return the lines since the last digest, and forget them."""
        lines, self._lines = self._lines, []
        if self._left_out:
            lines.append(f"and {self._left_out} more")
            self._left_out = 0
        return lines

    def continue_digests(self, now: float) -> None:
        """Make the next digest due one period from now."""
        self.due = now + self._period

    def end_digests(self) -> None:
        """Report occurrences one by one again: there was none for a period."""
        self.due = None
        self._recent.clear()
