"""Counts of durations by size, cheap to feed and safe to read from another thread."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from itertools import accumulate

# Seconds. The upper limits that are reported: those of the conventions for database operations.
BOUNDS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0)
# The limits that are counted by, ten a decade; the reported ones are among them.
_STEPS = ("1", "1.25", "1.6", "2", "2.5", "3.15", "4", "5", "6.3", "8")
FINE = tuple(float(f"{step}e{decade}") for decade in range(-4, 4) for step in _STEPS)
_CUTS = [FINE.index(bound) + 1 for bound in BOUNDS]


@dataclass(frozen=True, slots=True)
class Counted:
    """Totals at one instant: how many durations, and their sums in seconds, for each fine bucket.

    The last bucket holds what is longer than all limits.
    """

    counts: tuple[int, ...]
    sums: tuple[float, ...]

    @property
    def count(self) -> int:
        """How many durations there were."""
        return sum(self.counts)

    @property
    def total(self) -> float:
        """Their sum in seconds."""
        return sum(self.sums)

    def cumulative(self) -> list[tuple[float, int]]:
        """Return how many durations were at most as long as each limit of `BOUNDS`."""
        upto = list(accumulate(self.counts, initial=0))
        return [(bound, upto[cut]) for bound, cut in zip(BOUNDS, _CUTS, strict=True)]


class Buckets:
    """Counts durations. One thread writes, any thread reads; there is no lock.

    A list's items are read and written whole, and nothing is ever reset. A reader that comes in
    the middle of `observe()` sees a sum that is one duration ahead of its count, and no more.
    """

    __slots__ = ("_counts", "_sums", "zeros")

    def __init__(self) -> None:
        self.zeros = 0  # durations of 0 s, for those who need not look for the bucket
        self._counts = [0] * (len(FINE) + 1)
        self._sums = [0.0] * (len(FINE) + 1)

    def observe(self, seconds: float) -> None:
        """Count one duration."""
        index = bisect_left(FINE, seconds)
        self._sums[index] += seconds
        self._counts[index] += 1

    def read(self) -> Counted:
        """Return the totals as they are now; durations of 0 s are in the first bucket."""
        counts = self._counts.copy()
        sums = self._sums.copy()
        counts[0] += self.zeros
        return Counted(tuple(counts), tuple(sums))
