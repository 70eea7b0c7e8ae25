"""What may listen at a server's address without being one: HTTP, garbage, a byte a second."""

from __future__ import annotations

import contextlib
import random
import socket
import struct
import threading
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HUGE = 0x7FFFFFF0  # the length in bytes that a message claims
AUTHENTICATED = b"R" + struct.pack(">II", 8, 0)
HTTP = (
    b"HTTP/1.1 400 Bad Request\r\nServer: nginx\r\nContent-Type: text/html\r\n"
    b"Connection: close\r\n\r\n<html><head><title>400 Bad Request</title></head></html>\r\n"
)


class Impostor:
    """Listens on 127.0.0.1, in threads of its own, and sends every client the same.

    *say* yields pauses in seconds and the bytes to send after them. The first bytes wait until the
    client has sent something, unless *eager*. At the end the connection is closed.
    """

    def __init__(
        self, say: Callable[[], Iterator[tuple[float, bytes]]], *, eager: bool = False
    ) -> None:
        self.host = "127.0.0.1"
        self.dials = 0
        self._say = say
        self._eager = eager
        self._over = threading.Event()
        self._listener = socket.create_server((self.host, 0))
        self.port: int = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept)]

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self.dials += 1
                self._threads.append(threading.Thread(target=self._serve, args=(client,)))
                self._threads[-1].start()

    def _serve(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError), client:
            client.settimeout(0.2)
            if not self._eager:
                with contextlib.suppress(TimeoutError):
                    client.recv(1 << 16)
            for pause, data in self._say():
                if self._over.wait(pause):
                    return
                client.sendall(data)


def http() -> Iterator[tuple[float, bytes]]:
    """Answer as a web server does to a malformed request."""
    yield 0, HTTP


def garbage() -> Iterator[tuple[float, bytes]]:
    """Send a megabyte of random bytes."""
    yield 0, random.Random(7).randbytes(1 << 20)


def drop_by_drop() -> Iterator[tuple[float, bytes]]:
    """Send what could become an answer, one byte a second."""
    for byte in b"N" + AUTHENTICATED:
        yield 1, bytes([byte])


def slam() -> Iterator[tuple[float, bytes]]:
    """Close the connection at once."""
    yield from ()


def huge_request() -> Iterator[tuple[float, bytes]]:
    """Announce an authentication request of two gigabytes, and begin to send it."""
    yield 0, b"N"
    yield 0.01, b"R" + struct.pack(">I", HUGE)
    for _ in range(1 << 11):
        yield 0, bytes(1 << 16)


def huge_status() -> Iterator[tuple[float, bytes]]:
    """Accept every client, then announce a parameter's value of two gigabytes."""
    yield 0, b"N"
    yield 0.01, AUTHENTICATED + b"S" + struct.pack(">I", HUGE)
    for _ in range(1 << 11):
        yield 0, bytes(1 << 16)
