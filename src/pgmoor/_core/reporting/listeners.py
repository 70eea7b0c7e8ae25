"""Delivers events to callbacks and streams, each with a queue of its own.

One that is slow, fails or hangs delays no other.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from contextvars import copy_context
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from pgmoor._core.util.asynctools import being_cancelled, spawn, tasks_that_await, value_of

from .log_fields import fields

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgmoor.events import Event

logger = logging.getLogger("pgmoor.events")

BACKLOG = 1000  # events that wait for one listener; then the oldest are dropped
LAST_MOMENT = 0.1  # seconds that a cancelled callback gets to end


class Listener:
    """One subscriber: a bounded queue and, for a callback, the task that feeds it."""

    def __init__(self, manager: str, callback: Callable[[Event], Any] | None = None) -> None:
        self._manager = manager
        self._callback = callback
        called = getattr(callback, "__qualname__", None)
        self._called = f" {called}" if isinstance(called, str) and called.isprintable() else ""
        self._queue: deque[Event] = deque(maxlen=BACKLOG)
        self._ready = asyncio.Event()
        self._closed = False
        self._task: asyncio.Task[None] | None = None
        self._context = copy_context()  # of the subscriber, not of the first event
        self.dropped: int = 0

    @property
    def busy(self) -> bool:
        """Whether the callback still runs."""
        return self._task is not None and not self._task.done()

    def push(self, event: Event) -> None:
        """Queue an event; drop the oldest if the queue is full."""
        if len(self._queue) == BACKLOG:
            self.dropped += 1
            if self.dropped == 1:
                logger.warning(
                    "the listener%s of %r is %d events behind; dropping the oldest",
                    self._called,
                    self._manager,
                    BACKLOG,
                    extra=fields("ListenerBehind", self._manager, backlog=BACKLOG),
                )
        self._queue.append(event)
        self._ready.set()
        if self._callback and self._task is None:
            self._task = spawn(self._deliver(), "pgmoor-listener", self._context)

    async def next(self) -> Event | None:
        """Return the next event, or None when the manager is closed and all were delivered."""
        while not self._queue:
            if self._closed:
                return None
            self._ready.clear()
            await self._ready.wait()
        return self._queue.popleft()

    def end(self) -> None:
        """Accept no more events; those in the queue are still delivered."""
        self._closed = True
        self._ready.set()

    async def aclose(self, timeout: float, caller: asyncio.Task[Any] | None) -> None:
        """Wait up to *timeout* seconds for the callback to catch up, then stop it.

        Not when *caller*, the task that closes, is the callback itself, or the callback waits for
        this one.
        """
        self.end()
        me = asyncio.current_task()
        assert me is not None
        if self._task is None or self._task is caller or self._task in tasks_that_await(me):
            return
        await asyncio.wait([self._task], timeout=timeout)
        if not self._task.done():
            extra = fields("ListenerStopped", self._manager, timeout=timeout)
            logger.warning(
                "the listener%s of %r did not finish within %.1f s; stopped",
                self._called,
                self._manager,
                timeout,
                extra=extra,
            )
            self._task.cancel()
            await asyncio.wait([self._task], timeout=min(timeout, LAST_MOMENT))

    async def _deliver(self) -> None:
        assert self._callback is not None
        while event := await self.next():
            try:
                await value_of(self._callback, event)
            except asyncio.CancelledError:
                if being_cancelled():
                    raise
                kind = type(event).__name__
                extra = fields("ListenerCancelled", self._manager, on=kind)
                logger.warning(
                    "work of the listener%s of %r on %s was cancelled",
                    self._called,
                    self._manager,
                    kind,
                    extra=extra,
                )
            except Exception:
                kind = type(event).__name__
                extra = fields("ListenerFailed", self._manager, on=kind)
                logger.exception(
                    "the listener%s of %r failed on %s",
                    self._called,
                    self._manager,
                    kind,
                    extra=extra,
                )


class EventStream:
    """The events since it was made, for `async for`; ends when the manager is closed."""

    def __init__(self, manager: str = "") -> None:
        self.listener: Listener = Listener(manager)

    def __aiter__(self) -> EventStream:
        return self

    async def __anext__(self) -> Event:
        event = await self.listener.next()
        if event is None:
            raise StopAsyncIteration
        return event


class Listeners:
    """All subscribers of one manager; *manager* is its name, for the logs."""

    def __init__(self, manager: str = "") -> None:
        self._manager = manager
        self._all: list[Listener] = []
        self._ended: list[Listener] = []  # unsubscribed, perhaps still running
        # Weak: a stream that nobody iterates any more needs no end.
        self._streams: WeakSet[EventStream] = WeakSet()
        self._closed = False

    def emit(self, event: Event) -> None:
        """Hand an event to every listener's queue; never waits, never raises."""
        for listener in self._all:
            listener.push(event)
        for stream in self._streams:
            stream.listener.push(event)

    def subscribe(self, callback: Callable[[Event], Any]) -> Callable[[], None]:
        """Call *callback* with every event from now on; return a function that ends that."""
        listener = self._add(Listener(self._manager, callback))
        return lambda: self._remove(listener)

    def stream(self) -> EventStream:
        """Return an iterator over every event from now on, until the manager is closed."""
        stream = EventStream(self._manager)
        self._streams.add(stream)
        if self._closed:
            stream.listener.end()
        return stream

    async def aclose(self, timeout: float, caller: asyncio.Task[Any] | None = None) -> None:
        """End all listeners; callbacks get up to *timeout* seconds together to catch up.

        *caller* is the task that closes, by default this one; a callback may be that task.
        """
        self._closed = True
        for stream in self._streams:
            stream.listener.end()
        caller = caller or asyncio.current_task()
        mine = [*self._all, *self._ended]
        if mine:
            await asyncio.gather(*(listener.aclose(timeout, caller) for listener in mine))

    def _add(self, listener: Listener) -> Listener:
        if self._closed:
            listener.end()
        self._all.append(listener)
        return listener

    def _remove(self, listener: Listener) -> None:
        if listener in self._all:
            self._all.remove(listener)
            self._ended = [other for other in self._ended if other.busy]
            self._ended.append(listener)
        listener.end()
