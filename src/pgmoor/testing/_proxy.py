"""`FaultProxy`: a TCP proxy that causes a network's faults between clients and one server.

It runs in a thread of its own, independent of the event loop under test. Bytes are carried by
`_relay.py`.
"""

from __future__ import annotations

import enum
import queue
import selectors
import socket
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, Self

from ._ports import LOOPBACK, bind, free_port, resolve, stop_listening
from ._relay import Link, Poller
from ._wire import CommitFault, Wire

if TYPE_CHECKING:
    from collections.abc import Callable

BACKLOG = 1024
TIMEOUT = 10.0  # seconds for the proxy's thread to obey


class Dials(enum.Enum):
    """What happens to new connections."""

    SERVE = enum.auto()
    REFUSE = enum.auto()
    HOLD = enum.auto()
    """The proxy accepts and never answers them."""
    DROP = enum.auto()
    """The kernel ignores their SYN."""


class FaultProxy:
    """A TCP proxy on this machine, in front of one server, that causes faults on request.

    It stands in front of *host* and *port*. It listens on 127.0.0.1 and a free port, or on
    *listen_host* (any address of 127.0.0.0/8) and *listen_port*.

    You can call each method from any thread. It returns once its fault is in effect, within about
    20 ms. Faults of different kinds add up until `heal()`. Methods raise RuntimeError before
    `start()` and after `close()`.

    A proxy is not a cable: its kernel acknowledges bytes that it has not delivered, and if the
    server refuses, the client is first accepted and then reset.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        listen_host: str = LOOPBACK,
        listen_port: int | None = None,
    ) -> None:
        self.host = listen_host
        self.port: int = free_port() if listen_port is None else listen_port
        self.accepted: int = 0
        """Number of connections accepted since the start."""
        self._target = resolve(host, port)
        self._dials = Dials.SERVE
        self._silent = False
        self._delay = 0.0
        self._budget: int | None = None
        self._commits = CommitFault()
        self._links: set[Link] = set()
        self._held: set[Link] = set()
        self._fillers: list[socket.socket] = []
        self._filler_ports: set[int] = set()
        self._thread: threading.Thread | None = None
        self._commands: queue.SimpleQueue[tuple[Callable[[], None], Future[None]]]
        self._commands = queue.SimpleQueue()
        self._running = False

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    @property
    def connections(self) -> int:
        """Number of clients connected now, as far as the proxy has noticed."""
        return len(self._links)

    @property
    def round_trips(self) -> int:
        """Number of queries and pipelines' syncs since the start; encrypted ones don't count."""
        return self._commits.round_trips

    @property
    def commits_lost(self) -> int:
        """Number of COMMITs that `lose_commits()` has lost since the start."""
        return self._commits.lost

    def start(self) -> None:
        """Start to listen; raise OSError if the port is in use."""
        if self._thread is not None:
            raise RuntimeError("the proxy is running already")
        self._listener = bind(self.host, self.port)
        self._poller = Poller()
        self._wake_sender, self._wake_receiver = socket.socketpair()
        self._poller.watch(self._wake_receiver, selectors.EVENT_READ, self._on_command)
        self._running = True
        self._set_dials(Dials.SERVE)
        self._thread = threading.Thread(target=self._run, name=f"proxy-{self.port}", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Reset all connections, stop listening and end the thread; may be called twice."""
        if self._thread is None:
            return
        self._command(self._shut_down)
        self._thread.join(TIMEOUT)
        self._thread = None
        self._wake_sender.close()

    def refuse(self) -> None:
        """Refuse new connections with RST, like a host whose server is down; others go on."""
        self._command(lambda: self._set_dials(Dials.REFUSE))

    def reset(self) -> None:
        """Send RST to both ends of every connection, once; new connections work."""
        self._command(lambda: self._each(lambda link: link.end(reset=True)))

    def deaf(self) -> None:
        """Accept new connections and never answer them; others go on."""
        self._command(lambda: self._set_dials(Dials.HOLD))

    def silent(self, *, new: bool = True) -> None:
        """Deliver nothing in either direction, neither bytes nor FIN nor RST, and close nothing.

        New connections are accepted and never answered. With `new=False` they work, as behind a
        router that has lost its table of connections.
        """
        self._command(lambda: self._silence(Dials.HOLD if new else None))

    def blackhole(self) -> None:
        """Be silent, and have the kernel ignore the SYN of new connections: the host is gone.

        Raises OSError if the kernel answers although its queue is full; Linux does not.
        """
        self._command(lambda: self._silence(Dials.DROP))

    def delay(self, seconds: float) -> None:
        """Delay what arrives from now on by *seconds*, in both directions and in order."""
        self._command(lambda: self._set_delay(seconds))

    def cut(self, after: int = 0, *, new: bool = False) -> None:
        """Reset each connection once *after* more bytes have passed from the server to its client.

        With *new*, do the same to later connections, counting from their first byte.
        """
        self._command(lambda: self._set_budget(after, new=new))

    def lose_commits(self, count: int | None = 1, *, delivered: bool) -> None:
        """Reset each connection that commits, at its COMMIT; *count* of them, or None for all.

        With `delivered=False` the COMMIT does not reach the server, which rolls back. With
        `delivered=True` the server carries it out, and the proxy drops the answer. It reads the
        simple and the extended protocol, pipelined or not, but no encrypted connections.
        """
        self._command(lambda: self._commits.arm(count, delivered=delivered))

    def heal(self) -> None:
        """End every fault; bytes and connections that were held back go on to the server."""
        self._command(self._heal)

    def retarget(self, host: str, port: int) -> None:
        """Send new connections to another server, like a virtual address that moved."""
        target = resolve(host, port)
        self._command(lambda: setattr(self, "_target", target))

    def _command(self, work: Callable[[], None]) -> None:
        """Run *work* in the proxy's thread; raise what it raises."""
        if self._thread is None or not self._running:
            raise RuntimeError("the proxy is not running")
        done: Future[None] = Future()
        self._commands.put((work, done))
        self._wake_sender.send(b"!")
        done.result(TIMEOUT)

    def _on_command(self, _: int) -> None:
        self._wake_receiver.recv(1)
        work, done = self._commands.get()
        try:
            work()
        except Exception as error:  # noqa: BLE001 - the calling thread raises it
            done.set_exception(error)
        else:
            done.set_result(None)

    def _run(self) -> None:
        while self._running:
            self._poller.turn()
        self._poller.close()
        self._wake_receiver.close()

    def _each(self, work: Callable[[Link], None]) -> None:
        for link in tuple(self._links):
            work(link)

    def _set_delay(self, seconds: float) -> None:
        self._delay = seconds
        self._each(lambda link: setattr(link, "delay", seconds))

    def _set_budget(self, after: int | None, *, new: bool) -> None:
        self._budget = after if new else None
        self._each(lambda link: self._limit(link, after))

    def _limit(self, link: Link, after: int | None) -> None:
        if after == 0:
            link.end(reset=True)
        else:
            link.down.budget = after

    def _silence(self, dials: Dials | None) -> None:
        for link in self._links:
            link.silent = True
            link.update()
        if dials is not None:
            self._set_dials(dials)

    def _heal(self) -> None:
        self._set_delay(0)
        self._set_budget(None, new=False)
        self._commits.arm(0, delivered=False)
        self._set_dials(Dials.SERVE)
        held, self._held = self._held, set()
        for link in tuple(self._links):
            link.silent = False
            if link in held:
                link.dial(self._target)
            else:
                link.update()

    def _set_dials(self, dials: Dials) -> None:
        for filler in self._fillers:
            filler.close()
        self._fillers.clear()
        self._poller.forget(self._listener)
        if dials is Dials.REFUSE:
            self._filler_ports.clear()
            self._listener = stop_listening(self._listener, self.host, self.port)
        elif dials is Dials.DROP:
            self._fill_backlog()
        else:
            self._listener.listen(BACKLOG)
            self._poller.watch(self._listener, selectors.EVENT_READ, self._on_dial)
        self._dials = dials

    def _fill_backlog(self) -> None:
        """Fill the queue of connections to accept: while it is full, Linux ignores a SYN."""
        self._listener.listen(0)
        for _ in range(BACKLOG):
            filler = socket.socket()
            self._fillers.append(filler)
            filler.settimeout(0.02)
            try:
                filler.connect((self.host, self.port))
            except TimeoutError:
                return
            self._filler_ports.add(filler.getsockname()[1])
        raise OSError("this kernel answers although the queue of the listening socket is full")

    def _on_dial(self, _: int) -> None:
        try:
            client, peer = self._listener.accept()
        except OSError:
            return
        if peer[1] in self._filler_ports:
            self._filler_ports.remove(peer[1])
            client.close()
            return
        self.accepted += 1
        link = Link(client, self._poller, self._forget, Wire(self._commits))
        link.delay = self._delay
        self._links.add(link)
        if self._dials is Dials.HOLD:
            self._held.add(link)
        elif self._budget == 0:
            link.end(reset=True)
        else:
            link.down.budget = self._budget
            link.dial(self._target)

    def _forget(self, link: Link) -> None:
        self._links.discard(link)
        self._held.discard(link)

    def _shut_down(self) -> None:
        self._set_dials(Dials.REFUSE)
        self._listener.close()
        self._each(lambda link: link.end(reset=True))
        self._poller.forget(self._wake_receiver)
        self._running = False
