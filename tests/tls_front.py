"""A TLS proxy in front of a server without TLS.

PostgreSQL's programs of the test wheel are built without TLS. Here Python's `ssl` answers in their
place: to libpq's SSLRequest, or to a handshake at once (`sslnegotiation=direct`).
"""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import struct
import threading
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    import trustme

SSL_REQUEST = struct.pack(">II", 8, 80877103)
HANDSHAKE = b"\x16"  # the first byte of a TLS record that begins a handshake
PATIENCE = 5.0  # seconds for a handshake


class ServerSocket(ssl.SSLSocket):
    """A socket that closes itself: Python drops one that is reset just before its handshake."""

    def __del__(self) -> None:
        self.close()


def server_context(
    cert: trustme.LeafCert, *, client_ca: trustme.CA | None = None
) -> ssl.SSLContext:
    """Return a server's context; with *client_ca* it demands a certificate of the client's, too."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.sslsocket_class = ServerSocket
    context.set_alpn_protocols(["postgresql"])
    cert.configure_cert(context)
    if client_ca is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        client_ca.configure_trust(context)
    return context


class TlsFront:
    """Listens on 127.0.0.1, in threads of its own: the event loop under test can't slow it down."""

    def __init__(self, host: str, port: int, context: ssl.SSLContext) -> None:
        self.host = "127.0.0.1"
        self.context = context  # of the connections from now on
        self.dials = 0
        self.peers: list[Any] = []  # the certificate of each client whose handshake succeeded
        self.target = (host, port)
        self._listener = socket.create_server((self.host, 0))
        self.port: int = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._links: set[socket.socket] = set()

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._threads[0].join(PATIENCE)
        self.reset()
        for thread in self._threads:
            thread.join(PATIENCE)
        self._listener.close()

    def reset(self) -> None:
        """Cut all connections, without TLS's own goodbye."""
        for link in tuple(self._links):
            with contextlib.suppress(OSError):
                link.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self.dials += 1
                self._threads.append(threading.Thread(target=self._serve, args=(client,)))
                self._threads[-1].start()

    def _serve(self, client: socket.socket) -> None:
        self._links.add(client)
        try:
            with contextlib.suppress(OSError), client:
                client.settimeout(PATIENCE)
                self._relay(client)
        finally:
            self._links.discard(client)

    def _relay(self, client: socket.socket) -> None:
        if client.recv(1, socket.MSG_PEEK) != HANDSHAKE:
            if client.recv(8, socket.MSG_WAITALL) != SSL_REQUEST:
                return
            client.sendall(b"S")
        with (
            # The plain socket stays ours: `reset()` cuts it under the TLS.
            self.context.wrap_socket(client.dup(), server_side=True) as tls,
            socket.create_connection(self.target) as server,
        ):
            self.peers.append(tls.getpeercert())
            while True:
                ready = [tls] if tls.pending() else select.select([tls, server], [], [])[0]
                for source, sink in ((tls, server), (server, tls)):
                    if source in ready:
                        if not (data := source.recv(1 << 16)):
                            return
                        sink.sendall(data)
