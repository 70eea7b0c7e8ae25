"""Free TCP ports of 127.0.0.1 for test servers and proxies."""

from __future__ import annotations

import random
import socket
import sys

LOOPBACK = "127.0.0.1"
LINUX = sys.platform == "linux"


def free_port() -> int:
    """Return a port of 127.0.0.1 on which nothing listens now; it is not reserved.

    It lies below the usual ranges of ephemeral ports: no outgoing connection takes it while its
    server is down, and a client that dials a dead server can't connect to itself.
    """
    while True:
        port = random.randint(10_000, 32_000)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((LOOPBACK, port))
            except OSError:
                continue
            return port


def bind(host: str, port: int) -> socket.socket:
    """Return a socket for listening at this address, which does not listen yet."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setblocking(False)
    try:
        listener.bind((host, port))
    except OSError:
        listener.close()
        raise
    return listener


def stop_listening(listener: socket.socket, host: str, port: int) -> socket.socket:
    """Return a socket that is bound to the address and refuses connections: no other can take it.

    Linux can do this to one socket. A new one can't be bound while a child process that has not
    started its program yet has a copy of the old one.
    """
    if LINUX:
        # A socket that isn't listening would pass the shutdown on to whatever it accepts later.
        if listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            listener.shutdown(socket.SHUT_RDWR)
        return listener
    listener.close()
    return bind(host, port)


def resolve(host: str, port: int) -> tuple[str, int]:
    """Return the IPv4 address and the port."""
    found = socket.getaddrinfo(host, port, socket.AF_INET, socket.SOCK_STREAM)
    address = found[0][4]
    return str(address[0]), int(address[1])
