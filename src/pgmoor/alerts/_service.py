"""The alerts of one manager at run time: its events go to the triage, messages to the outbox."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from time import monotonic
from typing import TYPE_CHECKING

from pgmoor._core.reporting.log_fields import fields
from pgmoor._core.util.asynctools import spawn

from ._messages import Messages
from ._outbox import Outbox
from ._phrases import Plan
from ._triage import Triage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pgmoor._core.reporting.listeners import Listeners
    from pgmoor._core.settings.settings import Settings

    from ._channels import Channel
    from ._kinds import AlertRules, Message
    from ._outbox import Limits

logger = logging.getLogger("pgmoor.alerts")


class AlertService:
    """Sends alerts about one manager, from its `open()` to its `close()`; delays neither."""

    def __init__(
        self,
        rules: AlertRules,
        limits: Limits,
        channels: Sequence[Channel],
        settings: Settings,
        listeners: Listeners,
    ) -> None:
        self._name = settings.name
        messages = Messages(settings.name, Plan.of(settings), rules.remind)
        self._triage = Triage(rules, messages, [host.label for host in settings.hosts])
        self._outbox = Outbox(channels, limits, settings.name)
        self._stream = listeners.stream()  # kept here: listeners hold it weakly
        self._task = spawn(self._run(), f"{settings.name}-alerts")

    async def aclose(self, timeout: float) -> None:
        """Handle the events so far and send what is queued, for up to *timeout* seconds."""
        deadline = monotonic() + timeout
        self._stream.listener.end()
        await asyncio.wait([self._task], timeout=timeout)
        await self._outbox.aclose(max(deadline - monotonic(), 0.0))

    async def _run(self) -> None:
        triage = self._triage
        while True:
            event = None
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._until_due()):
                    event = await self._stream.listener.next()
                    if event is None:
                        break
            try:
                now = monotonic()
                self._send(triage.tick(now) if event is None else triage.handle(event, now))
            except Exception:  # one bad event must not end all alerts
                extra = fields("InternalError", self._name, on=type(event).__name__)
                logger.exception("handling an event failed", extra=extra)
                await asyncio.sleep(1.0)  # what is due stays due: don't log it without a pause
        self._send(triage.close(monotonic()))

    def _until_due(self) -> float | None:
        due = self._triage.due
        return None if due is None else max(due - monotonic(), 0.0)

    def _send(self, messages: list[Message]) -> None:
        for message in messages:
            self._outbox.put(message)
