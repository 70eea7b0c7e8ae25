"""Waits for something to decide, and notes when the event loop stood still meanwhile.

Time in which the loop did not run is no silence of a host: its answer may wait to be read.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

import anyio

from pgmoor._core.util.awake_limit import LATE

if TYPE_CHECKING:
    import asyncio

SOON, STEP = 1.0, 0.01  # seconds


class Wakefulness:
    """Knows since when the event loop has run without a pause, as far as it was noticed."""

    def __init__(self, changed: asyncio.Event) -> None:
        self.since = float("-inf")  # the end of the newest pause
        self._changed = changed

    def expected(self, due: float) -> None:
        """Note that what was to happen at the instant *due* happens now."""
        now = monotonic()
        if now - due > LATE:
            self.since = now

    async def wait(self, until: float | None) -> None:
        """Wait until there is something to decide, or until the instant *until*."""
        if until is None:
            await self._changed.wait()
            return
        while True:
            now = monotonic()
            due = max(now + 0.002, until)
            if due - now <= SOON:  # in short steps: one timer may be on time by chance
                due = min(due, now + STEP)
            with anyio.move_on_after(due - now):
                await self._changed.wait()
            self.expected(due)
            if self._changed.is_set() or due >= until:
                return
