"""Sends messages; each channel has a queue, a task and daemon threads of its own.

No channel delays another. Everything has a limit: the queue, each attempt, how long a message is
retried, and the number of threads that hang.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, NamedTuple

from pgmoor._core.reporting.log_fields import fields
from pgmoor._core.util.asynctools import in_daemon_thread, spawn
from pgmoor._core.util.backoff import delays

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Sequence

    from ._channels import Channel
    from ._kinds import Message

logger = logging.getLogger("pgmoor.alerts")

BACKOFF_BASE = 1.0  # seconds; a mail server that restarts is back within a few
BACKOFF_CAP = 60.0
CLOSING_BACKOFF_CAP = 0.5  # seconds, while the manager is being closed
MAX_HUNG_THREADS = 2  # of one channel; with so many, no attempt is made


@dataclass(frozen=True, slots=True)
class Limits:
    """How long each message is retried, and how many wait; durations in seconds. See `Alerts`."""

    send_timeout: float = 30.0
    retry_for: float = 3600.0
    max_queue: int = 100


class Attempt(NamedTuple):
    """The outcome of an attempt: why it failed, or None; and the thread, if that still hangs."""

    failure: str | None
    thread: threading.Thread | None = None


async def attempt(
    channel: Channel, message: Message, timeout: float, on_sent: Callable[[], None] | None = None
) -> Attempt:
    """Try once to send a message, for up to *timeout* seconds.

    *on_sent* is called when the channel has taken the message, even if that is after the timeout.
    """
    loop = asyncio.get_running_loop()

    def send() -> str | None:
        try:
            failure = channel.send(message)
        except BaseException as error:  # noqa: BLE001  whatever it is, its text may hold a secret
            return type(error).__name__
        if failure is None and on_sent is not None:
            with contextlib.suppress(RuntimeError):  # the loop may be closed by now
                loop.call_soon_threadsafe(on_sent)
        return failure

    try:
        call = in_daemon_thread(send, "pgmoor-alerts-send")
    except RuntimeError as error:  # no thread can be started
        return Attempt(str(error))
    try:
        async with asyncio.timeout(timeout):
            return Attempt(await call.result())
    except TimeoutError:
        return Attempt(f"no answer within {timeout:g} s", call.thread)


class QueuedMessage:
    """A message that waits for one channel."""

    def __init__(self, message: Message, expires: float) -> None:
        self.message = message
        self.expires = expires
        self.sent = False

    def mark_sent(self) -> None:
        """Record that the channel has taken the message."""
        self.sent = True


class ChannelQueue:
    """The messages that wait for one channel, and the task that sends them."""

    def __init__(self, channel: Channel, limits: Limits, manager: str) -> None:
        self._channel = channel
        self._limits = limits
        self._manager = manager
        self._waiting: deque[QueuedMessage] = deque()
        self._current: QueuedMessage | None = None
        self._changed = asyncio.Event()
        self._closing = asyncio.Event()
        self._failing = False
        self._hung: list[threading.Thread] = []
        self._task = spawn(self._run(), "pgmoor-alerts-send")

    def put(self, message: Message) -> None:
        """Queue a message without waiting; drop the oldest if the queue is full."""
        if len(self._waiting) == self._limits.max_queue:
            self._log_lost(self._waiting.popleft(), "the queue is full")
        self._waiting.append(QueuedMessage(message, monotonic() + self._limits.retry_for))
        self._changed.set()

    async def aclose(self, timeout: float) -> None:
        """Try to send what is queued, for up to *timeout* seconds; log what was not sent."""
        self._closing.set()
        self._changed.set()
        await asyncio.wait([self._task], timeout=timeout)
        self._task.cancel()
        await asyncio.wait([self._task])
        current = [] if self._current is None else [self._current]
        for queued in (*current, *self._waiting):
            self._log_lost(queued, "the manager was closed")

    async def _run(self) -> None:
        while True:
            while not self._waiting:
                if self._closing.is_set():
                    return
                self._changed.clear()
                await self._changed.wait()
            self._current = self._waiting.popleft()
            await self._deliver(self._current)
            self._current = None

    async def _deliver(self, queued: QueuedMessage) -> None:
        for delay in delays(BACKOFF_BASE, BACKOFF_CAP):
            failure = await self._attempt(queued)
            if failure is None:
                self._log_sent(queued)
                return
            self._log_failure(failure)
            if monotonic() >= queued.expires:
                self._log_lost(queued, failure)
                return
            await self._pause(min(delay, queued.expires - monotonic()))

    async def _attempt(self, queued: QueuedMessage) -> str | None:
        """Try once; return why it failed, or None."""
        if queued.sent:  # an earlier attempt succeeded after its timeout
            return None
        self._hung = [thread for thread in self._hung if thread.is_alive()]
        if len(self._hung) >= MAX_HUNG_THREADS:
            return "earlier attempts still hang"
        timeout = self._limits.send_timeout
        outcome = await attempt(self._channel, queued.message, timeout, queued.mark_sent)
        if outcome.thread is not None:
            self._hung.append(outcome.thread)
        return outcome.failure

    async def _pause(self, delay: float) -> None:
        """Wait before the next attempt; end the wait early when the manager is closed."""
        if self._closing.is_set():
            await asyncio.sleep(min(delay, CLOSING_BACKOFF_CAP))
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(delay):
                await self._closing.wait()

    def _log_sent(self, queued: QueuedMessage) -> None:
        channel, title = self._channel.label, queued.message.title
        if self._failing:
            self._failing = False
            extra = fields("AlertChannelWorks", self._manager, channel=channel)
            logger.info("alert channel %s works again", channel, extra=extra)
        extra = fields("AlertSent", self._manager, channel=channel, title=title)
        logger.debug("sent over %s: %s", channel, title, extra=extra)

    def _log_failure(self, failure: str) -> None:
        channel = self._channel.label
        level = logging.DEBUG if self._failing else logging.WARNING
        self._failing = True
        extra = fields("AlertChannelFails", self._manager, channel=channel, reason=failure)
        logger.log(
            level, "alert channel %s fails, will try again: %s", channel, failure, extra=extra
        )

    def _log_lost(self, queued: QueuedMessage, reason: str) -> None:
        channel, title = self._channel.label, queued.message.title
        extra = fields("AlertLost", self._manager, channel=channel, title=title, reason=reason)
        logger.error("an alert was not sent over %s: %s (%s)", channel, title, reason, extra=extra)


class Outbox:
    """The queues of all channels of one manager."""

    def __init__(self, channels: Sequence[Channel], limits: Limits, manager: str = "") -> None:
        self._queues = [ChannelQueue(channel, limits, manager) for channel in channels]

    def put(self, message: Message) -> None:
        """Queue a message for every channel without waiting."""
        for queue in self._queues:
            queue.put(message)

    async def aclose(self, timeout: float) -> None:
        """Flush all queues at the same time, for up to *timeout* seconds."""
        await asyncio.gather(*(queue.aclose(timeout) for queue in self._queues))
