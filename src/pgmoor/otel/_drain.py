"""Brings what buckets have counted into an OpenTelemetry histogram, when metrics are collected.

A histogram's `record()` costs more than a whole checkout, and there is no call for many at once.
So a checkout only counts, and the records are made in the thread that collects.
"""

from __future__ import annotations

import time
from time import monotonic
from typing import TYPE_CHECKING

from pgmoor._metrics.buckets import FINE

if TYPE_CHECKING:
    from opentelemetry.metrics import Histogram

    from pgmoor._metrics.buckets import Buckets

# Records between two offers to let other threads run, the event loop's above all: it waits for half
# a millisecond at most. Beside a loop that never rests, each offer costs 5 ms.
AT_ONCE = 100


class Drain:
    """Records what one `Buckets` counts; each duration as the mean of its fine bucket.

    So counts and sums are exact, and so are the histogram's buckets if its limits are among `FINE`.
    """

    def __init__(self, histogram: Histogram, attributes: dict[str, str | int]) -> None:
        self._histogram = histogram
        self._attributes = attributes
        self._counts = [0] * (len(FINE) + 1)  # what has been recorded
        self._sums = [0.0] * (len(FINE) + 1)

    def run(self, buckets: Buckets, deadline: float) -> None:
        """Record what is new; leave what can't be recorded until *deadline* for the next time."""
        counted = buckets.read()
        for index, (count, total) in enumerate(zip(counted.counts, counted.sums, strict=True)):
            new = count - self._counts[index]
            if new and not self._record(index, new, (total - self._sums[index]) / new, deadline):
                return

    def _record(self, index: int, new: int, mean: float, deadline: float) -> bool:
        """Record *mean* so many times; return whether there was time for all."""
        # Rounding, and a duration whose count is not there yet, must not move it to another bucket.
        if index < len(FINE):
            mean = min(mean, FINE[index])
        if index:
            mean = max(mean, FINE[index - 1] * (1 + 1e-9))
        while new:
            if monotonic() > deadline:
                return False
            some = min(new, AT_ONCE)
            for _ in range(some):
                self._histogram.record(mean, self._attributes)
            self._counts[index] += some
            self._sums[index] += some * mean
            new -= some
            time.sleep(0)
        return True
