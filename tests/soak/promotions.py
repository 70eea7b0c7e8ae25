"""When the managers know of a promotion: from then on no statement may reach an older primary."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pgmoor import ConnectionManager

TURN = 0.1  # seconds that the manager may take to act on what it knows


@dataclass
class Promotion:
    """A promotion: when it began, and when all managers were first seen to know of it."""

    began: float
    timeline: int
    known_at: float | None = None

    def excuses(self, instant: float) -> bool:
        """Return whether a manager may still use an older primary at an instant."""
        return self.began <= instant and (self.known_at is None or instant <= self.known_at + TURN)


class Promotions:
    """All promotions of a run."""

    def __init__(self, managers: Sequence[ConnectionManager]) -> None:
        self._managers = managers
        self._promotions = [Promotion(monotonic(), 1)]

    def add(self, began: float, timeline: int) -> None:
        """Record a promotion."""
        self._promotions.append(Promotion(began, timeline))

    def known(self, instant: float) -> bool:
        """Return whether the manager knew at an instant of all promotions that had begun."""
        return not any(promotion.excuses(instant) for promotion in self._promotions[-20:])

    @property
    def since(self) -> float | None:
        """Since when the manager must not use any older primary; None if it still may."""
        known_at = self._promotions[-1].known_at
        return None if known_at is None else known_at + TURN

    async def wait(self, limit: float) -> bool:
        """Wait until the newest promotion is known; return False after *limit* seconds."""
        deadline = monotonic() + limit
        while self._promotions[-1].known_at is None:
            if monotonic() > deadline:
                return False
            await asyncio.sleep(0.01)
        return True

    async def run(self) -> None:
        """Ask the manager again and again, without end."""
        while True:
            newest = self._promotions[-1]
            known = min(map(_newest_known, self._managers))
            if newest.known_at is None and known >= newest.timeline:
                for promotion in self._promotions[-5:]:
                    promotion.known_at = promotion.known_at or monotonic()
            await asyncio.sleep(0.01)


def _newest_known(manager: ConnectionManager) -> int:
    hosts = manager.snapshot().hosts
    return max((host.timeline or 0 for host in hosts if host.role == "primary"), default=0)
