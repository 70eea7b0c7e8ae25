"""One page of one manager: it samples once a second, and feeds all who watch by SSE.

However many watch, each part is made once. Nobody has a queue: a viewer that is slow gets what is
the newest when it is ready for more.
"""

from __future__ import annotations

import asyncio
import signal
from time import monotonic
from typing import TYPE_CHECKING

from .history import History
from .page import COMMON_HEADERS, document, parts

if TYPE_CHECKING:
    from pgmoor.events import Event
    from pgmoor.manager import ConnectionManager

SAMPLE = 1.0  # seconds between two samples
LOOK = 0.25  # seconds between two looks for news and for the server's end, while somebody watches
KEEP_ALIVE = 10.0  # seconds without news after which a comment is sent
LIFE = 300.0  # seconds that a stream lasts; then the browser asks again, and is authorised anew
WRITE = 10.0  # seconds in which a viewer must take what it is sent, or it is dropped
VIEWERS = 32  # streams at a time
RETRY = b"retry: 1000\n\n"  # milliseconds before the browser connects again
COMMENT = b": still here\n\n"

STREAM_HEADERS = {
    **COMMON_HEADERS,
    "Content-Type": "text/event-stream; charset=utf-8",
    "X-Accel-Buffering": "no",  # nginx would keep it back
}
FULL_HEADERS = {**COMMON_HEADERS, "Retry-After": "5"}


class Viewer:
    """One stream; `next()` gives what to send."""

    def __init__(self, page: StatusPage) -> None:
        self.ending = False
        self._page = page
        self._until = monotonic() + LIFE
        self._seen: dict[str, str] = {}
        self._greeted = False

    async def next(self) -> bytes | None:
        """Return what to send next, or None at the end."""
        if not self._greeted:
            self._greeted = True
            return RETRY
        while True:
            if chunk := self._news():
                return chunk
            if self.ending or monotonic() > self._until:
                return None
            try:
                async with asyncio.timeout(KEEP_ALIVE):
                    await self._page.turn.wait()
            except TimeoutError:
                return COMMENT

    def leave(self) -> None:
        """Be no viewer any more."""
        self._page.viewers.discard(self)

    def _news(self) -> bytes:
        fresh = {
            name: text for name, text in self._page.parts.items() if text != self._seen.get(name)
        }
        self._seen |= fresh
        return b"".join(f"data: {text}\n\n".encode() for text in fresh.values())


class StatusPage:
    """The page of one manager. It may be made before the manager is opened."""

    def __init__(self, manager: ConnectionManager) -> None:
        self.viewers: set[Viewer] = set()
        self.parts: dict[str, str] = {}
        self.turn = asyncio.Event()  # set, and replaced, when there are new parts
        self._manager = manager
        self._history = History()
        self._timer: asyncio.TimerHandle | None = None
        self._sample_at = 0.0
        self._stirred = False
        self._close = manager.subscribe(self._hear)

    def document(self) -> bytes:
        """Return the page as it is now."""
        self._start()
        return document(self._manager.snapshot(), self._history, monotonic())

    def admit(self) -> Viewer | None:
        """Return a new viewer, who has to `leave()`; or None when there are too many."""
        if len(self.viewers) >= VIEWERS:
            return None
        viewer = Viewer(self)
        self.viewers.add(viewer)
        self._stirred = True
        self._start(at_once=True)
        return viewer

    def end_streams(self) -> None:
        """Let all streams end: the server is about to."""
        for viewer in self.viewers:
            viewer.ending = True
        self._wake()

    def detach(self) -> None:
        """Hear and sample no more."""
        self._close()
        self.end_streams()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # -- inside ------------------------------------------------------------------------------------

    def _hear(self, event: Event) -> None:
        self._history.events.append(event)
        self._stirred = True
        self._start()

    def _start(self, *, at_once: bool = False) -> None:
        """Begin to sample. It is a timer rather than a task: nothing has to be ended with the loop.

        The first event of a manager starts it, the first view if there was none.
        """
        if self._timer is not None and at_once:
            self._timer.cancel()
            self._timer = None
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(0, self._tick)

    def _tick(self) -> None:
        self._timer = None
        closed = self._manager.closed
        self._stirred |= closed
        try:
            self._look(monotonic())
        finally:
            if closed or (self.viewers and server_is_leaving()):
                self.end_streams()
            if not closed:
                delay = LOOK if self.viewers else SAMPLE
                self._timer = asyncio.get_running_loop().call_later(delay, self._tick)

    def _look(self, now: float) -> None:
        due = now >= self._sample_at
        if not (due or self._stirred):
            return
        health = self._manager.snapshot()
        if due:
            self._sample_at = now + SAMPLE - LOOK / 2  # a timer is never quite exact
            self._history.add(health, now)
        if self.viewers:
            self._stirred = False
            self.parts = parts(health, self._history, now)
            self._wake()

    def _wake(self) -> None:
        turn, self.turn = self.turn, asyncio.Event()
        turn.set()


def server_is_leaving() -> bool:
    """Return whether uvicorn, alone or in gunicorn's worker, has begun to shut down.

    It waits for open streams before it tells the application, so the application has to look. The
    server's method is what handles SIGTERM; elsewhere this is False.
    """
    server = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
    if getattr(server, "should_exit", False) is True:
        return True
    listeners = getattr(server, "servers", None)  # closed by --limit-max-requests, too
    if not isinstance(listeners, list) or not listeners:
        return False
    return not any(listener.is_serving() for listener in listeners)
