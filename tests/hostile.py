"""A server that speaks PostgreSQL's protocol over a real socket and sends what a test wants."""

from __future__ import annotations

import socket
import struct
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

SSL_REQUEST, GSS_REQUEST, CANCEL_REQUEST = 80877103, 80877104, 80877102
TEXT = 25  # the type's oid


class Gone(Exception):  # noqa: N818  it ends every conversation
    """The client has closed the connection, or the server is being closed."""


class Conversation:
    """One client's connection, from its startup packet on."""

    def __init__(self, link: socket.socket, closing: threading.Event) -> None:
        self._link = link
        self.closing = closing
        self.parameters: dict[str, str] = {}  # of the startup packet

    # -- receiving -----------------------------------------------------------------------------

    def startup(self) -> None:
        """Read the startup packet; refuse encryption."""
        while True:
            (length,) = struct.unpack("!i", self._read(4))
            body = self._read(length - 4)
            (code,) = struct.unpack("!i", body[:4])
            if code in (SSL_REQUEST, GSS_REQUEST):
                self.send(b"N")
            elif code == CANCEL_REQUEST:
                raise Gone
            else:
                words = body[4:].rstrip(b"\0").decode(errors="replace").split("\0")
                self.parameters = dict(zip(words[::2], words[1::2], strict=False))
                return

    def receive(self) -> tuple[bytes, bytes]:
        """Read one message; return its type and its content."""
        kind = self._read(1)
        (length,) = struct.unpack("!i", self._read(4))
        return kind, self._read(length - 4)

    def password(self) -> str:
        """Demand the password in clear text, and return it."""
        self.message(b"R", struct.pack("!i", 3))
        kind, body = self.receive()
        assert kind == b"p"
        return body.rstrip(b"\0").decode(errors="replace")

    def _read(self, size: int) -> bytes:
        found = b""
        while len(found) < size:
            try:
                more = self._link.recv(size - len(found))
            except OSError:
                more = b""
            if not more:
                raise Gone
            found += more
        return found

    # -- sending -------------------------------------------------------------------------------

    def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        try:
            self._link.sendall(data)
        except OSError:
            raise Gone from None

    def message(self, kind: bytes, body: bytes) -> None:
        """Send one message."""
        self.send(message(kind, body))

    def greet(self, **parameters: str) -> None:
        """Accept the client."""
        self.message(b"R", struct.pack("!i", 0))
        for name, value in {"server_version": "18.0", "client_encoding": "UTF8"}.items():
            self.send(parameter(name, value))
        for name, value in parameters.items():
            self.send(parameter(name, value))
        self.message(b"K", struct.pack("!ii", 1, 1))
        self.ready()

    def ready(self) -> None:
        """Send ReadyForQuery."""
        self.message(b"Z", b"I")

    def answer(self, rows: Sequence[Sequence[bytes | None]], columns: int | None = None) -> None:
        """Answer a query with rows of text."""
        width = len(rows[0]) if columns is None else columns
        self.send(description(width))
        for row in rows:
            self.send(data_row(row))
        self.message(b"C", b"SELECT 1\0")
        self.ready()

    def error(self, text: str, *, code: str = "XX000", severity: str = "FATAL") -> None:
        """Report an error."""
        self.send(report(b"E", text, code=code, severity=severity))


def message(kind: bytes, body: bytes) -> bytes:
    """Return one message of the protocol."""
    return kind + struct.pack("!i", len(body) + 4) + body


def parameter(name: str, value: str) -> bytes:
    """Return the report of a parameter's value."""
    return message(b"S", name.encode() + b"\0" + value.encode() + b"\0")


def report(kind: bytes, text: str, *, code: str, severity: str) -> bytes:
    """Return an error (E) or a notice (N)."""
    fields = {"S": severity, "V": severity, "C": code, "M": text}
    body = b"".join(key.encode() + value.encode() + b"\0" for key, value in fields.items())
    return message(kind, body + b"\0")


def description(columns: int) -> bytes:
    """Return the description of rows of text."""
    column = b"c\0" + struct.pack("!ihihih", 0, 0, TEXT, -1, -1, 0)
    return message(b"T", struct.pack("!h", columns) + column * columns)


def data_row(values: Sequence[bytes | None]) -> bytes:
    """Return one row."""
    cells = b"".join(
        struct.pack("!i", -1) if value is None else struct.pack("!i", len(value)) + value
        for value in values
    )
    return message(b"D", struct.pack("!h", len(values)) + cells)


class HostileServer:
    """Follows a script with each client, in a thread of its own, until it is closed.

    `host` and `port` say where it listens.
    """

    host = "127.0.0.1"

    def __init__(self, script: Callable[[Conversation], None]) -> None:
        self._script = script
        self._closing = threading.Event()
        self._links: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self.clients = 0
        self.faults: list[BaseException] = []  # of the script, not of the client

    def __enter__(self) -> Self:
        self._listener = socket.create_server((self.host, 0))
        self.port: int = self._listener.getsockname()[1]
        self._start(self._accept)
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._closing.set()
        for link in (self._listener, *tuple(self._links)):
            with suppress(OSError):
                link.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)
        self._listener.close()
        assert not any(thread.is_alive() for thread in self._threads)
        assert not self.faults, self.faults

    def _start(self, work: Callable[[], None]) -> None:
        thread = threading.Thread(target=work, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                link, _ = self._listener.accept()
            except OSError:
                return
            self._links.add(link)
            self.clients += 1
            if self._closing.is_set():
                link.close()
                return
            self._start(lambda link=link: self._converse(link))  # type: ignore[misc]

    def _converse(self, link: socket.socket) -> None:
        with link:
            try:
                self._script(Conversation(link, self._closing))
            except Gone:
                pass
            except BaseException as error:  # noqa: BLE001  raised at the end of the test
                self.faults.append(error)
        self._links.discard(link)
