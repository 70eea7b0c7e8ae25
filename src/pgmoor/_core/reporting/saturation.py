"""Reports that callers get no connection although the host works, at most once a minute."""

from __future__ import annotations

import logging
from time import monotonic
from typing import TYPE_CHECKING

from pgmoor._core.util.once_per import OncePer
from pgmoor.errors import PoolExhausted, TooManyRequests
from pgmoor.events import PoolSaturated

if TYPE_CHECKING:
    from .reporter import Reporter

logger = logging.getLogger("pgmoor.pool")

REPORT_AGAIN = 60.0  # seconds


class Saturation:
    """Counts the callers who were refused."""

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter
        self._refused = 0
        self._once: OncePer[None] = OncePer(REPORT_AGAIN)

    def refused(self, error: PoolExhausted | TooManyRequests) -> None:
        """Count a caller who gets *error*."""
        self._refused += 1
        if not self._once.allows(monotonic(), None):
            return
        count, self._refused = self._refused, 0
        figures = error.figures
        holders = error.holders if isinstance(error, PoolExhausted) else ()
        event = PoolSaturated(
            refused=count,
            used=figures.used,
            waiting=figures.waiting,
            max_size=figures.max_size + figures.max_overflow,
            holders=", ".join(map(str, holders)),
        )
        self._reporter.tell(event, logger)
