"""An HAProxy in front of several servers: one port for the primary, one for the standbys.

With Patroni's servers it checks Patroni's REST API. Otherwise its check begins a session and reads
the parameter `in_hot_standby`, which PostgreSQL 14 and newer report at the start of each session.
"""

from __future__ import annotations

import csv
import os
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path
from time import monotonic, sleep
from typing import TYPE_CHECKING, NamedTuple, Self

from pgmoor.testing._ports import LOOPBACK, free_port
from services.patroni import Member

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pgmoor.testing import Node

PATIENCE = 10.0  # seconds for it to listen

# The protocol's startup message (length, version 3.0, parameters), followed by a Terminate message,
# so that the session ends at once.
_STARTUP = b"\x00\x03\x00\x00user\x00postgres\x00database\x00postgres\x00\x00"
HELLO = (len(_STARTUP) + 4).to_bytes(4) + _STARTUP + b"X\x00\x00\x00\x04"

CONFIG = """
global
    maxconn 400
    stats socket {socket}
defaults
    mode tcp
    retries 0
    timeout connect 1s
    timeout client 1h
    timeout server 1h
    timeout check 1s
    default-server inter 100ms fastinter 50ms fall 2 rise 1 on-marked-down shutdown-sessions
"""
SECTION = """
listen {name}
    bind {host}:{port}
    balance roundrobin
{check}
{servers}
"""
ASK_POSTGRESQL = """\
    option tcp-check
    tcp-check send-binary {hello}
    tcp-check expect binary {expected}
"""
ASK_PATRONI = """\
    option httpchk OPTIONS {path}
    http-check expect status 200
"""


class Address(NamedTuple):
    """The address of a section."""

    host: str
    port: int


class HAProxy:
    """One process of HAProxy, as a context manager."""

    def __init__(self, program: str, servers: Sequence[Node | Member]) -> None:
        self.primary = Address(LOOPBACK, free_port())
        self.standbys = Address(LOOPBACK, free_port())
        self._program = program
        self._servers = servers
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self._home = Path(tempfile.mkdtemp(prefix="pgmoor-haproxy-"))
        self._config = self._home / "haproxy.cfg"
        self._config.write_text(
            CONFIG.format(socket=self._home / "stats")
            + self._section("primary", self.primary)
            + self._section("standbys", self.standbys),
            encoding="utf-8",
        )
        self.start()
        return self

    def _section(self, name: str, address: Address) -> str:
        servers = [
            f"    server n{index} {server.host}:{server.port} check"
            + (f" port {server.api.rpartition(':')[2]}" if isinstance(server, Member) else "")
            for index, server in enumerate(self._servers)
        ]
        expected = b"in_hot_standby\0" + (b"off\0" if name == "primary" else b"on\0")
        patroni = isinstance(self._servers[0], Member)
        check = ASK_PATRONI if patroni else ASK_POSTGRESQL
        path = "/primary" if name == "primary" else "/replica"
        return SECTION.format(
            name=name,
            host=address.host,
            port=address.port,
            check=check.format(hello=HELLO.hex(), expected=expected.hex(), path=path),
            servers="\n".join(servers),
        )

    def sessions(self, section: str, index: int) -> int:
        """Return the number of sessions that a section has sent to a server."""
        with socket.socket(socket.AF_UNIX) as control:
            control.connect(str(self._home / "stats"))
            control.sendall(b"show stat\n")
            table = b"".join(iter(lambda: control.recv(65536), b"")).decode()
        rows = csv.DictReader(table.removeprefix("# ").splitlines())
        found = next(
            row for row in rows if (row["pxname"], row["svname"]) == (section, f"n{index}")
        )
        return int(found["stot"])

    def start(self) -> None:
        """Start it, and wait until it listens."""
        with (self._home / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._program, "-db", "-f", str(self._config)],
                stdout=log,
                stderr=log,
                env={"PATH": os.environ.get("PATH", "")},
            )
        until = monotonic() + PATIENCE
        while monotonic() < until and self._process.poll() is None:
            try:
                socket.create_connection(self.standbys, 1).close()
            except OSError:
                sleep(0.02)
            else:
                return
        self.stop()
        raise RuntimeError((self._home / "log").read_text(errors="replace"))

    def stop(self) -> None:
        """Kill it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def __exit__(self, *_: object) -> None:
        self.stop()
        shutil.rmtree(self._home)
