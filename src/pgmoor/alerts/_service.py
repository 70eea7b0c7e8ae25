"""What runs for one manager: its events go to the judge, the judge's messages to the outbox."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from time import monotonic
from typing import TYPE_CHECKING

from pgmoor.logs import fields

from ._messages import Messages
from ._outbox import Outbox
from ._phrases import Plan
from ._triage import Triage

if TYPE_CHECKING:
    from pgmoor.config import Settings
    from pgmoor.listeners import Listeners

    from ._kinds import Message
    from ._settings import Alerts

logger = logging.getLogger("pgmoor.alerts")


class AlertService:
    """The alerts of one manager, from `open()` to `close()`. Nothing waits for it."""

    def __init__(self, alerts: Alerts, settings: Settings, listeners: Listeners) -> None:
        self._name = settings.name
        words = Messages(settings.name, Plan.of(settings), alerts.rules.remind)
        hosts = [host.label for host in settings.hosts]
        self._judge = Triage(alerts.rules, words, hosts)
        self._outbox = Outbox(alerts.outlets, alerts.limits, settings.name)
        self._stream = listeners.stream()  # kept: listeners hold it weakly
        self._task = asyncio.create_task(self._run(), name=f"{settings.name}-alerts")

    async def aclose(self, timeout: float) -> None:
        """Judge what was heard, and send what is pending, for up to *timeout* seconds."""
        deadline = monotonic() + timeout
        self._stream.listener.end()
        await asyncio.wait([self._task], timeout=timeout)
        await self._outbox.aclose(max(deadline - monotonic(), 0.0))

    async def _run(self) -> None:
        while True:
            event = None
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._patience()):
                    event = await self._stream.listener.next()
                    if event is None:
                        break
            try:
                now = monotonic()
                self._send(self._judge.tick(now) if event is None else self._judge.hear(event, now))
            except Exception:  # one bad event must not end all alerts
                extra = fields("InternalError", self._name, on=type(event).__name__)
                logger.exception("an event could not be judged", extra=extra)
        self._send(self._judge.close(monotonic()))

    def _patience(self) -> float | None:
        due = self._judge.due
        return None if due is None else max(due - monotonic(), 0.0)

    def _send(self, messages: list[Message]) -> None:
        for message in messages:
            self._outbox.put(message)
