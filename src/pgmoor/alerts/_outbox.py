"""Sends messages: each channel has a queue, a task and a daemon thread, so none delays another.

All is bounded: the queue, each attempt, how long it is tried, the threads that may hang.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING

from pgmoor.backoff import delays
from pgmoor.logs import fields

from ._attempt import attempt

if TYPE_CHECKING:
    import threading
    from collections.abc import Sequence

    from ._channels import Channel
    from ._kinds import Message

logger = logging.getLogger("pgmoor.alerts")

BACKOFF_BASE = 1.0  # seconds; a mail server that restarts is back in some
BACKOFF_CAP = 60.0
HURRY = 0.5  # seconds between attempts at most, while the manager is being closed
MOST_STUCK = 2  # threads that a channel may have left behind, hanging; then none is added


@dataclass(frozen=True, slots=True)
class Limits:
    """How long and how often a channel is tried; durations in seconds."""

    send_timeout: float = 30.0
    retry_for: float = 3600.0
    max_queue: int = 100


class Letter:
    """A message on its way to one channel."""

    def __init__(self, message: Message, expires: float) -> None:
        self.message = message
        self.expires = expires
        self.sent = False

    def mark_sent(self) -> None:
        """Take in that the channel has taken it."""
        self.sent = True


class Lane:
    """What waits for one channel, and the task that sends it."""

    def __init__(self, channel: Channel, limits: Limits, manager: str) -> None:
        self._channel = channel
        self._limits = limits
        self._manager = manager
        self._waiting: deque[Letter] = deque()
        self._current: Letter | None = None
        self._changed = asyncio.Event()
        self._close_begun = asyncio.Event()
        self._failing = False
        self._stuck: list[threading.Thread] = []
        self._task = asyncio.create_task(self._run(), name="pgmoor-alerts-send")

    def put(self, message: Message) -> None:
        """Queue a message; never waits. The oldest gives way when the queue is full."""
        if len(self._waiting) == self._limits.max_queue:
            self._lost(self._waiting.popleft(), "the queue is full")
        self._waiting.append(Letter(message, monotonic() + self._limits.retry_for))
        self._changed.set()

    async def aclose(self, timeout: float) -> None:
        """Try to send what is queued, for up to *timeout* seconds; log what could not be."""
        self._close_begun.set()
        self._changed.set()
        await asyncio.wait([self._task], timeout=timeout)
        self._task.cancel()
        await asyncio.wait([self._task])
        current = [] if self._current is None else [self._current]
        for letter in (*current, *self._waiting):
            self._lost(letter, "the manager was closed")

    async def _run(self) -> None:
        while True:
            while not self._waiting:
                if self._close_begun.is_set():
                    return
                self._changed.clear()
                await self._changed.wait()
            self._current = self._waiting.popleft()
            await self._deliver(self._current)
            self._current = None

    async def _deliver(self, letter: Letter) -> None:
        for delay in delays(BACKOFF_BASE, BACKOFF_CAP):
            failure = await self._attempt(letter)
            if failure is None:
                self._succeeded(letter)
                return
            self._report(failure)
            if monotonic() >= letter.expires:
                self._lost(letter, failure)
                return
            await self._pause(min(delay, letter.expires - monotonic()))

    def _succeeded(self, letter: Letter) -> None:
        channel, title = self._channel.label, letter.message.title
        if self._failing:
            self._failing = False
            extra = fields("AlertChannelWorks", self._manager, channel=channel)
            logger.info("alert channel %s works again", channel, extra=extra)
        extra = fields("AlertSent", self._manager, channel=channel, title=title)
        logger.debug("sent over %s: %s", channel, title, extra=extra)

    def _report(self, failure: str) -> None:
        channel = self._channel.label
        level = logging.DEBUG if self._failing else logging.WARNING
        self._failing = True
        extra = fields("AlertChannelFails", self._manager, channel=channel, reason=failure)
        logger.log(
            level, "alert channel %s fails, will try again: %s", channel, failure, extra=extra
        )

    def _lost(self, letter: Letter, reason: str) -> None:
        channel, title = self._channel.label, letter.message.title
        extra = fields("AlertLost", self._manager, channel=channel, title=title, reason=reason)
        logger.error("an alert was not sent over %s: %s (%s)", channel, title, reason, extra=extra)

    async def _pause(self, delay: float) -> None:
        """Wait before the next attempt; less while the manager is being closed."""
        if self._close_begun.is_set():
            await asyncio.sleep(min(delay, HURRY))
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(delay):
                await self._close_begun.wait()

    async def _attempt(self, letter: Letter) -> str | None:
        """Try once; return why it failed, or None."""
        if letter.sent:  # an earlier attempt was late
            return None
        self._stuck = [thread for thread in self._stuck if thread.is_alive()]
        if len(self._stuck) >= MOST_STUCK:
            return "earlier attempts still hang"
        limit = self._limits.send_timeout
        failure, thread = await attempt(self._channel, letter.message, limit, letter.mark_sent)
        if thread is not None:
            self._stuck.append(thread)
        return failure


class Outbox:
    """All lanes of one manager."""

    def __init__(self, channels: Sequence[Channel], limits: Limits, manager: str = "") -> None:
        self._lanes = [Lane(channel, limits, manager) for channel in channels]

    def put(self, message: Message) -> None:
        """Queue a message for every channel; never waits."""
        for lane in self._lanes:
            lane.put(message)

    async def aclose(self, timeout: float) -> None:
        """Flush all lanes at once, for up to *timeout* seconds."""
        await asyncio.gather(*(lane.aclose(timeout) for lane in self._lanes))
