"""What the callables among the settings have answered, for all dials of a manager."""

from __future__ import annotations

import logging
from time import monotonic
from typing import TYPE_CHECKING, Any

from .logs import fields
from .shared import Shared
from .sources import Unobtainable

if TYPE_CHECKING:
    from .config import Settings
    from .hidden import Hidden

logger = logging.getLogger("pgmoor.dial")

SAY_AGAIN = 60.0  # seconds

Params = tuple[dict[str, str], dict[str, Any]]


class Asked:
    """Asks the callables; while they fail, what they answered last has to do."""

    def __init__(self, settings: Settings) -> None:
        self._name = settings.name
        self._shared = Shared(settings.ask_sources, f"{settings.name}-ask")
        self._last: Hidden[Params] | None = None
        self._said_at = float("-inf")

    async def get(self, *, anew: bool = False) -> Params:
        """Return the parameters and psycopg's arguments as they are now.

        With *anew*, for an answer that a server has rejected, nothing but a new one will do. Raises
        `Unobtainable`.
        """
        try:
            self._last = await self._shared.get(anew=anew)
        except Unobtainable as error:
            if self._last is None or anew:
                raise
            self._say(error)
        return self._last.reveal()

    def _say(self, error: Unobtainable) -> None:
        if monotonic() - self._said_at > SAY_AGAIN:
            self._said_at = monotonic()
            extra = fields("SourceFailed", self._name, reason=error.failure.text)
            logger.warning("what it gave before is used: %s", error.failure, extra=extra)

    def cancel(self) -> None:
        """End the work, if any is under way."""
        self._shared.cancel()
