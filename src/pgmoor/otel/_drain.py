"""Copies counted durations into an OpenTelemetry histogram when metrics are collected.

A histogram's `record()` costs more than a whole checkout, and no call records many values at once.
So a checkout only counts, and the collecting thread calls `record()`.
"""

from __future__ import annotations

import time
from time import monotonic
from typing import TYPE_CHECKING

from pgmoor._metrics.buckets import FINE

if TYPE_CHECKING:
    from opentelemetry.metrics import Histogram

    from pgmoor._metrics.buckets import Buckets

# Records between two pauses in which other threads, above all the event loop's, can run. They wait
# half a millisecond at most. Beside a loop that is never idle, each pause takes 5 ms.
BATCH = 100


class Drain:
    """Records the durations of one `Buckets`, each as the mean of its fine bucket.

    Counts and sums are exact. So are the histogram's buckets, if their limits are among `FINE`.
    """

    def __init__(self, histogram: Histogram, attributes: dict[str, str | int]) -> None:
        self._histogram = histogram
        self._attributes = attributes
        self._counts = [0] * (len(FINE) + 1)  # recorded so far
        self._sums = [0.0] * (len(FINE) + 1)

    def run(self, buckets: Buckets, deadline: float) -> None:
        """Record new durations until *deadline*; the next collection records the rest."""
        counted = buckets.read()
        for index, (count, total) in enumerate(zip(counted.counts, counted.sums, strict=True)):
            new = count - self._counts[index]
            if new and not self._record(index, new, (total - self._sums[index]) / new, deadline):
                return

    def _record(self, index: int, new: int, mean: float, deadline: float) -> bool:
        """Record *mean* *new* times; return False if the deadline passed first."""
        # Keep the mean inside its bucket: rounding moves it, and so does a sum ahead of its count.
        if index < len(FINE):
            mean = min(mean, FINE[index])
        if index:
            mean = max(mean, FINE[index - 1] * (1 + 1e-9))
        while new:
            if monotonic() > deadline:
                return False
            some = min(new, BATCH)
            for _ in range(some):
                self._histogram.record(mean, self._attributes)
            self._counts[index] += some
            self._sums[index] += some * mean
            new -= some
            time.sleep(0)
        return True
