"""Free TCP ports of 127.0.0.1 for test servers and proxies."""

from __future__ import annotations

import random
import socket

LOOPBACK = "127.0.0.1"


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
