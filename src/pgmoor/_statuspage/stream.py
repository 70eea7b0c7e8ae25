"""The page of one manager: samples it once a second, and streams updates to viewers (SSE).

Each part is rendered once, however many viewers there are. Viewers have no queue: a slow one gets
the newest parts when it is ready for more.
"""

from __future__ import annotations

import asyncio
import signal
from time import monotonic
from typing import TYPE_CHECKING, Any

from .history import History
from .page import COMMON_HEADERS, document, parts

if TYPE_CHECKING:
    from pgmoor._core.manager.manager import ConnectionManager
    from pgmoor.events import Event

SAMPLE_INTERVAL = 1.0  # seconds
# Seconds between checks for events and for the server's shutdown, while there are viewers.
CHECK_INTERVAL = 0.25
KEEP_ALIVE = 10.0  # seconds without updates before a comment is sent
LIFETIME = 300.0  # seconds of a stream; then the browser reconnects and is authorised again
WRITE_TIMEOUT = 10.0  # seconds; a viewer that reads nothing for so long is disconnected
MAX_VIEWERS = 32
RETRY = b"retry: 1000\n\n"  # milliseconds before the browser reconnects
COMMENT = b": still here\n\n"

STREAM_HEADERS = {
    **COMMON_HEADERS,
    "Content-Type": "text/event-stream; charset=utf-8",
    "X-Accel-Buffering": "no",  # or nginx buffers the stream
}
FULL_HEADERS = {**COMMON_HEADERS, "Retry-After": "5"}


class Viewer:
    """One stream; `next()` returns what to send."""

    def __init__(self, page: StatusPage) -> None:
        self.ending = False
        self._page = page
        self._ends_at = monotonic() + LIFETIME
        self._seen: dict[str, str] = {}
        self._retry_sent = False

    async def next(self) -> bytes | None:
        """Return what to send next, or None at the end."""
        if not self._retry_sent:
            self._retry_sent = True
            return RETRY
        while True:
            if chunk := self._updates():
                return chunk
            if self.ending or monotonic() > self._ends_at:
                return None
            try:
                async with asyncio.timeout(KEEP_ALIVE):
                    await self._page.changed.wait()
            except TimeoutError:
                return COMMENT

    def leave(self) -> None:
        """Stop being a viewer."""
        self._page.viewers.discard(self)

    def _updates(self) -> bytes:
        parts = self._page.parts
        changed = {name: text for name, text in parts.items() if text != self._seen.get(name)}
        self._seen |= changed
        return b"".join(f"data: {text}\n\n".encode() for text in changed.values())


class StatusPage:
    """The page of one manager. It may be made before the manager is opened."""

    def __init__(self, manager: ConnectionManager[Any]) -> None:
        self.viewers: set[Viewer] = set()
        self.parts: dict[str, str] = {}
        self.changed = asyncio.Event()  # set, and replaced, when there are new parts
        self._manager = manager
        self._history = History()
        self._timer: asyncio.TimerHandle | None = None
        self._next_sample = 0.0
        self._outdated = False
        self._unsubscribe = manager.subscribe(self._record)

    def begin(self) -> None:
        """Begin the history, as soon as the manager is open."""
        self._start()

    def document(self) -> bytes:
        """Return the whole page as of now."""
        self._start()
        return document(self._manager.snapshot(), self._history, monotonic())

    def admit(self) -> Viewer | None:
        """Return a new viewer, which must `leave()`; or None if there are too many."""
        if len(self.viewers) >= MAX_VIEWERS:
            return None
        viewer = Viewer(self)
        self.viewers.add(viewer)
        self._outdated = True
        self._start(at_once=True)
        return viewer

    def end_streams(self) -> None:
        """End all streams: the server shuts down, or the manager is closed."""
        for viewer in self.viewers:
            viewer.ending = True
        self._wake()

    def detach(self) -> None:
        """Stop recording events and taking samples."""
        self._unsubscribe()
        self.end_streams()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _record(self, event: Event) -> None:
        self._history.events.append(event)
        self._outdated = True
        self._start()

    def _start(self, *, at_once: bool = False) -> None:
        """Start sampling: at the app's start, or else at the first event or the first view.

        It is a timer and not a task, because a timer needs no end when the loop closes.
        """
        if self._timer is not None and at_once:
            self._timer.cancel()
            self._timer = None
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(0, self._tick)

    def _tick(self) -> None:
        self._timer = None
        closed = self._manager.closed
        self._outdated |= closed
        try:
            self._update(monotonic())
        finally:
            if closed or (self.viewers and server_shuts_down()):
                self.end_streams()
            if not closed:
                delay = CHECK_INTERVAL if self.viewers else SAMPLE_INTERVAL
                self._timer = asyncio.get_running_loop().call_later(delay, self._tick)

    def _update(self, now: float) -> None:
        sample_due = now >= self._next_sample
        if not (sample_due or self._outdated):
            return
        health = self._manager.snapshot()
        if sample_due:
            self._next_sample = now + SAMPLE_INTERVAL - CHECK_INTERVAL / 2  # timers are inexact
            self._history.add(health, now)
        if self.viewers:
            self._outdated = False
            self.parts = parts(health, self._history, now)
            self._wake()

    def _wake(self) -> None:
        changed, self.changed = self.changed, asyncio.Event()
        changed.set()


def server_shuts_down() -> bool:
    """Return whether uvicorn, alone or in gunicorn's worker, has begun to shut down.

    uvicorn waits for open streams before it sends the application a shutdown event, so the page
    checks by itself. It finds the server through the handler of SIGTERM, which is one of the
    server's methods. With other servers this is False.
    """
    server = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
    if getattr(server, "should_exit", False) is True:
        return True
    listeners = getattr(server, "servers", None)  # --limit-max-requests closes them, too
    if not isinstance(listeners, list) or not listeners:
        return False
    return not any(listener.is_serving() for listener in listeners)
