"""Says that callers get no connection although the host works: at most once a minute."""

from __future__ import annotations

import logging
from time import monotonic
from typing import TYPE_CHECKING

from .errors import PoolExhausted, TooManyRequests
from .events import PoolSaturated
from .logs import fields_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from .events import Event

logger = logging.getLogger("pgmoor.pool")

REPORT_AGAIN = 60.0  # seconds


class Saturation:
    """Counts the callers who were refused."""

    def __init__(self, manager: str, emit: Callable[[Event], None]) -> None:
        self._manager = manager
        self._emit = emit
        self._refused = 0
        self._reported_at = float("-inf")

    def refused(self, error: PoolExhausted | TooManyRequests) -> None:
        """Take in that a caller meets *error*."""
        self._refused += 1
        now = monotonic()
        if now - self._reported_at < REPORT_AGAIN:
            return
        count, self._refused, self._reported_at = self._refused, 0, now
        figures = error.figures
        holders = error.holders if isinstance(error, PoolExhausted) else ()
        event = PoolSaturated(
            refused=count,
            used=figures.used,
            waiting=figures.waiting,
            max_size=figures.max_size,
            holders=", ".join(map(str, holders)),
        )
        logger.warning("%s", event, extra=fields_of(event, self._manager))
        self._emit(event)
