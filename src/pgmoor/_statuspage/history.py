"""The page's history: a sample of the pool once a second, and the last events. Pure."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pgmoor.events import Event
    from pgmoor.health import Health

SPAN = 300  # seconds that the chart shows
MAX_SAMPLES = 300  # one a second
MAX_EVENTS = 50
GAP = 5.0  # seconds without a sample that break the line: the program was suspended or busy


class Sample(NamedTuple):
    """The pool at the instant *at*, in seconds of the monotonic clock."""

    at: float
    used: int
    size: int
    waiting: int
    limit: int
    ready: bool


class History:
    """The samples of the last minutes and the last events. Older ones are dropped."""

    def __init__(self) -> None:
        self.events: deque[Event] = deque(maxlen=MAX_EVENTS)
        self._samples: deque[Sample] = deque(maxlen=MAX_SAMPLES)

    def add(self, health: Health, now: float) -> None:
        """Add a sample of *health*, taken at *now*."""
        pool = health.pool
        limit = pool.max_size + pool.max_overflow
        self._samples.append(Sample(now, pool.used, pool.size, pool.waiting, limit, health.ready))

    def samples(self, now: float) -> list[Sample]:
        """Return the samples that the chart shows at *now*, oldest first."""
        return [sample for sample in self._samples if sample.at > now - SPAN]


def stretches(samples: list[Sample]) -> list[list[Sample]]:
    """Return the samples in groups without a gap inside."""
    found: list[list[Sample]] = []
    for sample in samples:
        if found and sample.at - found[-1][-1].at < GAP:
            found[-1].append(sample)
        else:
            found.append([sample])
    return found
