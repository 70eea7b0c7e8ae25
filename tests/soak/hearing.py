"""When the manager has heard of a promotion: then no statement may reach an older primary."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pgmoor import ConnectionManager

TURN = 0.1  # seconds that the manager may take to act on what it has heard


@dataclass
class Promotion:
    """A promotion that began at an instant, and when the manager was seen to know of it."""

    began: float
    timeline: int
    heard_at: float | None = None

    def doubtful(self, instant: float) -> bool:
        """Return whether the manager may rightly use an older primary at an instant."""
        return self.began <= instant and (self.heard_at is None or instant <= self.heard_at + TURN)


class Hearing:
    """All promotions of a run."""

    def __init__(self, manager: ConnectionManager) -> None:
        self._manager = manager
        self._promotions = [Promotion(monotonic(), 1)]

    def announce(self, began: float, timeline: int) -> None:
        """Note a promotion."""
        self._promotions.append(Promotion(began, timeline))

    def settled(self, instant: float) -> bool:
        """Return whether the manager knew at an instant of all promotions that had begun."""
        return not any(promotion.doubtful(instant) for promotion in self._promotions[-20:])

    @property
    def since(self) -> float | None:
        """Since when the manager has had no business with any older primary; None: not yet."""
        heard_at = self._promotions[-1].heard_at
        return None if heard_at is None else heard_at + TURN

    async def wait(self, limit: float) -> bool:
        """Return whether the manager knows of the newest promotion, within *limit* seconds."""
        deadline = monotonic() + limit
        while self._promotions[-1].heard_at is None:
            if monotonic() > deadline:
                return False
            await asyncio.sleep(0.01)
        return True

    async def run(self) -> None:
        """Ask the manager often; for ever."""
        while True:
            newest = self._promotions[-1]
            if newest.heard_at is None:
                known = (
                    host.timeline or 0
                    for host in self._manager.snapshot().hosts
                    if host.role == "primary"
                )
                if max(known, default=0) >= newest.timeline:
                    for promotion in self._promotions[-5:]:
                        promotion.heard_at = promotion.heard_at or monotonic()
            await asyncio.sleep(0.01)
