"""A PgBouncer in front of one server, run as a user that it accepts."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from collections import Counter
from pathlib import Path
from time import monotonic, sleep
from typing import TYPE_CHECKING, Self

from psycopg import AsyncConnection, generators

from pgmoor.testing._ports import LOOPBACK, free_port

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pgmoor.testing import Node

PATIENCE = 10.0  # seconds for it to listen


class PgBouncer:
    """One process of PgBouncer, as a context manager."""

    def __init__(self, program: str, node: Node, mode: str, settings: Mapping[str, str]) -> None:
        self.host = LOOPBACK
        self.port = free_port()
        self._program = program
        self._node = node
        self._settings = {"pool_mode": mode, **settings}
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self._home = Path(tempfile.mkdtemp(prefix="pgmoor-pgbouncer-"))
        own = {
            "listen_addr": self.host,
            "listen_port": str(self.port),
            "unix_socket_dir": "",
            "auth_type": "any",
            "server_login_retry": "0.1",
            "admin_users": "postgres",
            **self._settings,
        }
        config = self._home / "pgbouncer.ini"
        config.write_text(
            f"[databases]\n* = host={self._node.host} port={self._node.port} user=postgres\n"
            "[pgbouncer]\n" + "".join(f"{key} = {value}\n" for key, value in own.items())
        )
        self._config = config
        self._user = None
        if os.geteuid() == 0:  # PgBouncer refuses to run as root
            nobody = pwd.getpwnam("nobody")
            self._user = nobody.pw_uid
            for path in (self._home, config):
                os.chown(path, nobody.pw_uid, nobody.pw_gid)
        self.start()
        return self

    def start(self) -> None:
        """Start it unless it runs, and wait until it listens."""
        if self._process is not None and self._process.poll() is None:
            return
        with (self._home / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._program, str(self._config)], stdout=log, stderr=log, user=self._user
            )
        self._wait()

    def stop(self) -> None:
        """Kill it."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to it."""
        if self._process is not None:
            self._process.send_signal(number)

    def pause(self) -> None:
        """Let what runs finish, and keep everything else waiting."""
        self.signal(signal.SIGUSR1)

    def resume(self) -> None:
        """Go on after a pause."""
        self.signal(signal.SIGUSR2)

    async def clients(self) -> Counter[str]:
        """Return how many clients it knows of, by their state; waiting ones that left, too."""
        console = f"host={self.host} port={self.port} user=postgres dbname=pgbouncer"
        async with await AsyncConnection.connect(console, autocommit=True) as conn:
            conn.pgconn.send_query(b"show clients")
            (found,) = await conn.wait(generators.execute(conn.pgconn))
            rows = [
                {found.fname(column): found.get_value(row, column) for column in range(5)}
                for row in range(found.ntuples)
            ]
        states = (row[b"state"] for row in rows if row[b"database"] != b"pgbouncer")
        return Counter(state.decode() for state in states if state is not None)

    def _wait(self) -> None:
        assert self._process is not None
        until = monotonic() + PATIENCE
        while monotonic() < until and self._process.poll() is None:
            try:
                socket.create_connection((self.host, self.port), 1).close()
            except OSError:
                sleep(0.02)
            else:
                return
        raise RuntimeError((self._home / "log").read_text(errors="replace"))

    def __exit__(self, *_: object) -> None:
        self.stop()
        shutil.rmtree(self._home)
