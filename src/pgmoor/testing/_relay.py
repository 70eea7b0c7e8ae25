"""Carries bytes between one client and one server: delayed, in part, or not at all.

The listening socket, the thread and the faults are in `_proxy.py`; everything here runs in that
thread.
"""

from __future__ import annotations

import contextlib
import enum
import errno
import heapq
import selectors
import socket
import struct
import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from ._wire import Wire

CHUNK = 64 * 1024
# Reading pauses while this many bytes are undelivered: enough for 1 s of delay at 16 MiB/s.
MAX_UNDELIVERED = 16 * 1024 * 1024
# With SO_LINGER on and a time of 0, close() sends RST instead of FIN.
RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class Broken(Exception):  # noqa: N818 - no failure of the proxy: the connection ends
    """One end was reset, so the other has to be."""


class End(enum.Enum):
    """What follows the last byte of one direction."""

    FIN = enum.auto()
    RST = enum.auto()


@dataclass(eq=False)
class Stream:
    """One direction of a connection: what was read from `source` and not yet sent to `sink`."""

    source: socket.socket
    sink: socket.socket
    pending: deque[tuple[float, bytes | End]] = field(default_factory=deque)
    size: int = 0
    ended: bool = False
    finished: bool = False
    budget: int | None = None
    """How many more bytes may pass before the connection is reset; None is no limit."""
    inspect: Callable[[bytes], int | None] | None = None
    """Returns how many of the bytes that were read may pass before a reset; None for all."""

    def receive(self, due: float) -> None:
        """Read what has arrived; deliver it at `due`, but never before what arrived earlier."""
        last: bytes | End
        try:
            last = self.source.recv(CHUNK) or End.FIN
        except BlockingIOError:
            return
        except OSError:
            last = End.RST
        if self.pending:
            due = max(due, self.pending[-1][0])
        if isinstance(last, bytes):
            cut = self.inspect(last) if self.inspect is not None else None
            last = last if cut is None else last[:cut]
            self.size += len(last)
            if last:
                self.pending.append((due, last))
            if cut is None:
                return
            last = End.RST
        self.ended = True
        self.pending.append((due, last))

    def deliver(self, now: float) -> None:
        """Send what is due, as far as the sink accepts it; raise Broken if it must be reset."""
        while self.pending and self.pending[0][0] <= now:
            due, data = self.pending[0]
            if data is End.RST:
                raise Broken
            if data is End.FIN:
                self.pending.popleft()
                self.finished = True
                self._send_fin()
                return
            assert isinstance(data, bytes)
            sent = self._send(data if self.budget is None else data[: self.budget])
            self.size -= sent
            if self.budget is not None:
                self.budget -= sent
                if self.budget == 0:
                    raise Broken
            if sent < len(data):
                self.pending[0] = (due, data[sent:])
                return
            self.pending.popleft()

    def is_due(self, now: float) -> bool:
        """Return whether something is due and waits only for the sink."""
        return bool(self.pending) and self.pending[0][0] <= now

    def wants_more(self) -> bool:
        """Return whether to read more from the source."""
        return not self.ended and self.size < MAX_UNDELIVERED

    def _send(self, data: bytes) -> int:
        try:
            return self.sink.send(data)
        except BlockingIOError:
            return 0
        except OSError:
            raise Broken from None

    def _send_fin(self) -> None:
        try:
            self.sink.shutdown(socket.SHUT_WR)
        except OSError:
            raise Broken from None


class Poller:
    """A selector with callbacks and timers."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._masks: dict[socket.socket, int] = {}
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0

    def watch(self, sock: socket.socket, mask: int, callback: Callable[[int], None]) -> None:
        """Call back when the socket is ready for what `mask` says; 0 stops watching it."""
        before = self._masks.get(sock, 0)
        if mask == before:
            return
        if not before:
            self._selector.register(sock, mask, callback)
        elif mask:
            self._selector.modify(sock, mask, callback)
        else:
            self._selector.unregister(sock)
        self._masks[sock] = mask
        if not mask:
            del self._masks[sock]

    def forget(self, sock: socket.socket) -> None:
        """Stop watching a socket."""
        self.watch(sock, 0, lambda _: None)

    def call_at(self, when: float, callback: Callable[[], None]) -> None:
        """Call back at an instant of the monotonic clock."""
        self._count += 1
        heapq.heappush(self._timers, (when, self._count, callback))

    def turn(self) -> None:
        """Wait for the next event or timer, and run its callback."""
        timeout = max(0.0, self._timers[0][0] - time.monotonic()) if self._timers else None
        for key, events in self._selector.select(timeout):
            # An earlier callback of this round may have closed this socket.
            if key.fileobj in self._masks:
                key.data(events)
        now = time.monotonic()
        while self._timers and self._timers[0][0] <= now:
            heapq.heappop(self._timers)[2]()

    def close(self) -> None:
        self._selector.close()


class Link:
    """A client's connection, and the connection to the server that is made for it."""

    def __init__(
        self, client: socket.socket, poller: Poller, on_end: Callable[[Link], None], wire: Wire
    ) -> None:
        self.client = client
        self.silent = False
        self.delay = 0.0
        self._poller = poller
        self._on_end = on_end
        self._timer = 0.0
        self._connected = False
        self.server = socket.socket()
        for sock in (client, self.server):
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.up = Stream(client, self.server, inspect=wire.up)
        self.down = Stream(self.server, client, inspect=wire.down)
        self._dialled = False

    def dial(self, address: tuple[str, int]) -> None:
        """Start to connect to the server; if it refuses, the client is reset."""
        self._dialled = True
        if self.server.connect_ex(address) not in (0, errno.EINPROGRESS):
            self.end(reset=True)
            return
        self.update()

    def update(self) -> None:
        """Deliver what is due and watch for what comes next; do nothing while silent."""
        if self.silent or not self._dialled:
            self._poller.forget(self.client)
            self._poller.forget(self.server)
            return
        if not self._connected:
            self._poller.watch(self.server, selectors.EVENT_WRITE, self._on_server)
            return
        now = time.monotonic()
        try:
            self.up.deliver(now)
            self.down.deliver(now)
        except Broken:
            self.end(reset=True)
            return
        if self.up.finished and self.down.finished:
            self.end(reset=False)
            return
        self._watch(self.client, self.up, self.down, now)
        self._watch(self.server, self.down, self.up, now)
        self._set_timer(now)

    def end(self, *, reset: bool) -> None:
        """Close both ends, with FIN or with RST."""
        for sock in (self.client, self.server):
            self._poller.forget(sock)
            if reset:
                # Some kernels refuse this for a socket whose peer is gone.
                with contextlib.suppress(OSError):
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
            sock.close()
        self._on_end(self)

    def _watch(self, sock: socket.socket, source: Stream, sink: Stream, now: float) -> None:
        mask = selectors.EVENT_READ if source.wants_more() else 0
        mask |= selectors.EVENT_WRITE if sink.is_due(now) else 0
        callback = self._on_client if sock is self.client else self._on_server
        self._poller.watch(sock, mask, callback)

    def _on_client(self, events: int) -> None:
        if events & selectors.EVENT_READ:
            self.up.receive(time.monotonic() + self.delay)
        self.update()

    def _on_server(self, events: int) -> None:
        if not self._connected:
            if self.server.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                self.end(reset=True)
                return
            self._connected = True
        elif events & selectors.EVENT_READ:
            self.down.receive(time.monotonic() + self.delay)
        self.update()

    def _set_timer(self, now: float) -> None:
        waiting = [stream.pending[0][0] for stream in (self.up, self.down) if stream.pending]
        later = [due for due in waiting if due > now]
        # One timer at a time: the next is set when it runs.
        if later and self._timer <= now:
            self._timer = min(later)
            self._poller.call_at(self._timer, self._on_timer)

    def _on_timer(self) -> None:
        if self.client.fileno() != -1:
            self.update()
