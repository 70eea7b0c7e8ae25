"""What the callables among the settings returned, for all dials of a manager."""

from __future__ import annotations

import logging
from time import monotonic
from typing import TYPE_CHECKING

from pgmoor._core.reporting.log_fields import fields
from pgmoor._core.settings.callables import CallableFailed
from pgmoor._core.util.asynctools import SingleFlight
from pgmoor._core.util.once_per import OncePer

if TYPE_CHECKING:
    from pgmoor._core.settings.parameters import ConnectParams
    from pgmoor._core.settings.settings import Settings
    from pgmoor._core.util.secrets import Hidden

logger = logging.getLogger("pgmoor.dial")

REPORT_AGAIN = 60.0  # seconds


class CredentialCache:
    """Calls the callables, once a second at most; while they fail, returns their last answer."""

    def __init__(self, settings: Settings) -> None:
        self._name = settings.name
        self._calls = SingleFlight(settings.fresh_params, f"{settings.name}-credentials")
        self._last: Hidden[ConnectParams] | None = None
        self._report: OncePer[None] = OncePer(REPORT_AGAIN)

    async def get(self, *, fresh: bool = False) -> ConnectParams:
        """Return what the callables say now.

        With *fresh*, after a server has rejected the last answer, only a new one will do. Raises
        `CallableFailed`.
        """
        try:
            self._last = await self._calls.get(fresh=fresh)
        except CallableFailed as error:
            if self._last is None or fresh:
                raise
            if self._report.allows(monotonic(), None):
                extra = fields("SourceFailed", self._name, reason=error.failure.text)
                logger.warning("using the last known credentials: %s", error.failure, extra=extra)
        return self._last.reveal()

    def cancel(self) -> None:
        """Cancel the call that is under way, if any."""
        self._calls.cancel()
