"""Histogram buckets for durations: cheap to count, safe to read from any thread."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from itertools import accumulate

# Seconds. The upper limits that Prometheus shows and OpenTelemetry is advised to use, from the
# semantic conventions for database operations.
BOUNDS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0)
# The limits of the buckets that are counted, ten a decade. `BOUNDS` are among them.
_STEPS = ("1", "1.25", "1.6", "2", "2.5", "3.15", "4", "5", "6.3", "8")
FINE = tuple(float(f"{step}e{decade}") for decade in range(-4, 4) for step in _STEPS)
_CUTS = [FINE.index(bound) + 1 for bound in BOUNDS]


@dataclass(frozen=True, slots=True)
class Counted:
    """Totals at one instant: the count and the sum in seconds of each fine bucket.

    The last bucket holds durations above all limits.
    """

    counts: tuple[int, ...]
    sums: tuple[float, ...]

    @property
    def count(self) -> int:
        """The number of durations."""
        return sum(self.counts)

    @property
    def total(self) -> float:
        """The sum of all durations, in seconds."""
        return sum(self.sums)

    def cumulative(self) -> list[tuple[float, int]]:
        """Return each limit of `BOUNDS`, with the number of durations up to it."""
        upto = list(accumulate(self.counts, initial=0))
        return [(bound, upto[cut]) for bound, cut in zip(BOUNDS, _CUTS, strict=True)]


class Buckets:
    """Counts durations. One thread writes, any thread reads, without a lock.

    List items are read and written atomically, and nothing is ever reset. A reader in the middle of
    `observe()` sees a sum that is at most one duration ahead of its count.
    """

    __slots__ = ("_counts", "_sums", "zeros")

    def __init__(self) -> None:
        self.zeros: int = 0  # durations of 0 s, which need no search for their bucket
        self._counts = [0] * (len(FINE) + 1)
        self._sums = [0.0] * (len(FINE) + 1)

    def observe(self, seconds: float) -> None:
        """Count one duration."""
        index = bisect_left(FINE, seconds)
        self._sums[index] += seconds
        self._counts[index] += 1

    def read(self) -> Counted:
        """Return the totals as of now. Durations of 0 s are in the first bucket."""
        counts = self._counts.copy()
        sums = self._sums.copy()
        counts[0] += self.zeros
        return Counted(tuple(counts), tuple(sums))
