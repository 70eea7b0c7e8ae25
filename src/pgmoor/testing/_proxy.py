"""Knows the faults a network can have, and brings them about between clients and one server.

Runs in a thread of its own, so that no event loop under test paces it. Leaves bytes to `relay.py`.
"""

import enum
import queue
import selectors
import socket
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Self

from ._ports import LOOPBACK, free_port
from ._relay import Link, Poller

BACKLOG = 1024
PATIENCE = 10.0


class Door(enum.Enum):
    """What happens to who dials."""

    OPEN = enum.auto()
    REFUSE = enum.auto()
    HOLD = enum.auto()
    """Accepted and never answered."""
    SWALLOW = enum.auto()
    """Not even the kernel answers."""


class FaultProxy:
    """A TCP proxy on this machine, in front of one server, with faults at command.

    It listens on 127.0.0.1 and a free port, or on the `listen_host` and `listen_port` given (all of
    127.0.0.0/8 is this machine's).

    Each method returns once its fault is in effect, may be called from any thread, and takes some
    20 ms at most. Faults of different kinds add up until `heal`. Methods raise RuntimeError before
    `start` and after `close`.

    It is a proxy, not a cable: its kernel acknowledges what it has not delivered, and a client
    whose server refuses is accepted first and then reset.
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
        self.port = free_port() if listen_port is None else listen_port
        self.accepted = 0
        """How many connections have been accepted since the start."""
        self._target = _resolve(host, port)
        self._door = Door.OPEN
        self._silent = False
        self._delay = 0.0
        self._budget: int | None = None
        self._links: set[Link] = set()
        self._held: set[Link] = set()
        self._plugs: list[socket.socket] = []
        self._plug_ports: set[int] = set()
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
        """How many clients are connected at the moment, as far as the proxy has noticed."""
        return len(self._links)

    def start(self) -> None:
        """Begin to listen; raise OSError when the port was taken meanwhile."""
        if self._thread is not None:
            raise RuntimeError("the proxy is running already")
        self._listener = _bind(self.host, self.port)
        self._poller = Poller()
        self._bell, self._ear = socket.socketpair()
        self._poller.watch(self._ear, selectors.EVENT_READ, self._on_command)
        self._running = True
        self._set_door(Door.OPEN)
        self._thread = threading.Thread(target=self._run, name=f"proxy-{self.port}", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Reset what is connected, stop listening and end the thread; may be called twice."""
        if self._thread is None:
            return
        self._command(self._shut_down)
        self._thread.join(PATIENCE)
        self._thread = None
        self._bell.close()

    def refuse(self) -> None:
        """Refuse new connections with RST, as a host whose server is down; others go on."""
        self._command(lambda: self._set_door(Door.REFUSE))

    def reset(self) -> None:
        """Send RST to both ends of every connection, once; new ones are not affected."""
        self._command(lambda: self._each(lambda link: link.end(reset=True)))

    def deaf(self) -> None:
        """Accept new connections and never answer them; others go on."""
        self._command(lambda: self._set_door(Door.HOLD))

    def silent(self, *, new: bool = True) -> None:
        """Deliver nothing in either direction, neither bytes nor FIN nor RST, and close nothing.

        New connections are accepted and never answered, too; with `new=False` they work, as behind
        a router that forgot the old ones.
        """
        self._command(lambda: self._silence(Door.HOLD if new else None))

    def blackhole(self) -> None:
        """Be silent, and let the kernel swallow the SYN of who dials, as a host that vanished.

        Raises OSError where the kernel doesn't do so for a full queue; Linux does.
        """
        self._command(lambda: self._silence(Door.SWALLOW))

    def delay(self, seconds: float) -> None:
        """Deliver what comes from now on this much later, in either direction and in order."""
        self._command(lambda: self._set_delay(seconds))

    def cut(self, after: int = 0, *, new: bool = False) -> None:
        """Reset each connection once `after` more bytes have passed from the server to its client.

        With `new` those made later too, counted from their first byte.
        """
        self._command(lambda: self._set_budget(after, new=new))

    def heal(self) -> None:
        """End every fault; what was held back is delivered now, and who was held is served."""
        self._command(self._heal)

    def retarget(self, host: str, port: int) -> None:
        """Send new connections to another server, as a virtual address that moved."""
        target = _resolve(host, port)
        self._command(lambda: setattr(self, "_target", target))

    def _command(self, work: Callable[[], None]) -> None:
        """Have the proxy's thread do something, and return or raise what came of it."""
        if self._thread is None or not self._running:
            raise RuntimeError("the proxy is not running")
        done: Future[None] = Future()
        self._commands.put((work, done))
        self._bell.send(b"!")
        done.result(PATIENCE)

    def _on_command(self, _: int) -> None:
        self._ear.recv(1)
        work, done = self._commands.get()
        try:
            work()
        except Exception as error:  # noqa: BLE001 - it belongs to the thread that asked
            done.set_exception(error)
        else:
            done.set_result(None)

    def _run(self) -> None:
        while self._running:
            self._poller.turn()
        self._poller.close()
        self._ear.close()

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

    def _silence(self, door: Door | None) -> None:
        for link in self._links:
            link.silent = True
            link.update()
        if door is not None:
            self._set_door(door)

    def _heal(self) -> None:
        self._set_delay(0)
        self._set_budget(None, new=False)
        self._set_door(Door.OPEN)
        held, self._held = self._held, set()
        for link in tuple(self._links):
            link.silent = False
            if link in held:
                link.dial(self._target)
            else:
                link.update()

    def _set_door(self, door: Door) -> None:
        for plug in self._plugs:
            plug.close()
        self._plugs.clear()
        self._poller.forget(self._listener)
        if door is Door.REFUSE:
            # Bound and not listening: the kernel refuses, and nobody else can take the port.
            self._listener.close()
            self._plug_ports.clear()
            self._listener = _bind(self.host, self.port)
        elif door is Door.SWALLOW:
            self._plug()
        else:
            self._listener.listen(BACKLOG)
            self._poller.watch(self._listener, selectors.EVENT_READ, self._on_dial)
        self._door = door

    def _plug(self) -> None:
        """Fill the queue of connections to be accepted; Linux ignores a SYN while it is full."""
        self._listener.listen(0)
        for _ in range(BACKLOG):
            plug = socket.socket()
            self._plugs.append(plug)
            plug.settimeout(0.02)
            try:
                plug.connect((self.host, self.port))
            except TimeoutError:
                return
            self._plug_ports.add(plug.getsockname()[1])
        raise OSError("this kernel goes on answering with a full queue")

    def _on_dial(self, _: int) -> None:
        try:
            client, peer = self._listener.accept()
        except OSError:
            return
        if peer[1] in self._plug_ports:
            # Left over from a black hole.
            self._plug_ports.remove(peer[1])
            client.close()
            return
        self.accepted += 1
        link = Link(client, self._poller, self._forget)
        link.delay = self._delay
        self._links.add(link)
        if self._door is Door.HOLD:
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
        self._set_door(Door.REFUSE)
        self._listener.close()
        self._each(lambda link: link.end(reset=True))
        self._poller.forget(self._ear)
        self._running = False


def _bind(host: str, port: int) -> socket.socket:
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setblocking(False)
    try:
        listener.bind((host, port))
    except OSError:
        listener.close()
        raise
    return listener


def _resolve(host: str, port: int) -> tuple[str, int]:
    found = socket.getaddrinfo(host, port, socket.AF_INET, socket.SOCK_STREAM)
    address = found[0][4]
    return str(address[0]), int(address[1])
