"""Whether the same happens so often that it is told in digests. Pure: instants are arguments."""

from __future__ import annotations

from collections import deque
from enum import Enum

MOST_LINES = 20  # in one digest; a phone shows no more


class Verdict(Enum):
    """What becomes of one more occurrence."""

    TELL = "tell"  # by itself
    TELL_FLAPPING = "tell flapping"  # say that it has happened too often: digests from now on
    FOLD = "fold"  # into the next digest


class Fold:
    """The occurrences of one thing: counted, and folded when they are too many."""

    def __init__(self, period: float, burst: int) -> None:
        self._period = period
        self._burst = burst
        self._recent: deque[float] = deque()  # instants, within the last period
        self._lines: list[str] = []
        self._left_out = 0
        self.due: float | None = None  # when the next digest falls due; None: nothing is folded

    @property
    def folding(self) -> bool:
        """Whether occurrences are folded at the moment."""
        return self.due is not None

    @property
    def count(self) -> int:
        """How many there were within the last period."""
        return len(self._recent)

    @property
    def seconds(self) -> float:
        """From the first to the last of them."""
        return self._recent[-1] - self._recent[0] if self._recent else 0.0

    def occurs(self, now: float) -> Verdict:
        """Count one more, and say what is to be done with it."""
        self._recent.append(now)
        while self._recent[0] <= now - self._period:
            self._recent.popleft()
        if self.folding:
            return Verdict.FOLD
        if len(self._recent) <= self._burst:
            return Verdict.TELL
        self.due = now + self._period
        return Verdict.TELL_FLAPPING

    def add(self, line: str) -> None:
        """Have a line stand in the next digest."""
        if len(self._lines) < MOST_LINES:
            self._lines.append(line)
        else:
            self._left_out += 1

    def take(self) -> list[str]:
        """Return the lines since the last digest, and forget them."""
        lines, self._lines = self._lines, []
        if self._left_out:
            lines.append(f"and {self._left_out} more")
            self._left_out = 0
        return lines

    def go_on(self, now: float) -> None:
        """Have the next digest fall due one period from now."""
        self.due = now + self._period

    def end(self) -> None:
        """Fold no more: it has been quiet for a period."""
        self.due = None
        self._recent.clear()
