"""Three Patroni nodes and their etcd, run as a user that PostgreSQL accepts.

Patroni's periods are the shortest that its failover works with: the leader's key in etcd expires
after 4 s, and each node checks it once a second.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import urllib.error
import urllib.request
from contextlib import ExitStack, suppress
from pathlib import Path
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any, Self

import psycopg

from pgmoor.testing._binaries import find_binaries
from pgmoor.testing._cluster import SETTINGS
from pgmoor.testing._folders import temporary_directory
from pgmoor.testing._ports import LOOPBACK, free_port

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pgmoor.testing._binaries import Binaries

PATIENCE = 60.0  # seconds for the cluster to be complete, on a busy machine
PERIODS = {"ttl": 4, "loop_wait": 1, "retry_timeout": 3, "maximum_lag_on_failover": 1 << 20}
VERSION = 16  # newer than Debian's Patroni 3.0, and the oldest of the bundled servers


class Process:
    """One program, run as the servers' user, with its output in a file."""

    def __init__(self, command: Sequence[str], home: Path, binaries: Binaries) -> None:
        self._command = list(command)
        self._home = home
        self._account = binaries.account
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> str:
        """The end of its output."""
        return (self._home / "log").read_text(errors="replace")[-4000:]

    @property
    def ended(self) -> bool:
        """Whether it has ended."""
        return self._process is not None and self._process.poll() is not None

    def start(self) -> None:
        """Start it."""
        own = {"PATH": os.environ.get("PATH", ""), "LC_ALL": "C.UTF-8", "HOME": str(self._home)}
        with (self._home / "log").open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._home,
                env=own,
                start_new_session=True,
                user=self._account.uid,
                group=self._account.gid,
                extra_groups=None if self._account.uid is None else [],
            )

    def kill(self) -> None:
        """End it with SIGKILL."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()


class Member:
    """One node: Patroni and its PostgreSQL."""

    def __init__(self, name: str, program: str, etcd: str, root: Path, binaries: Binaries) -> None:
        self.name = name
        self.host = LOOPBACK
        self.port = free_port()
        self.api = f"http://{LOOPBACK}:{free_port()}"
        self._data = root / name / "data"
        home = _directory(root / name, binaries)
        config = home / "patroni.yml"
        # JSON is YAML.
        config.write_text(json.dumps(self._settings(home, etcd, binaries)), encoding="utf-8")
        self.process = Process([program, str(config)], home, binaries)

    def _settings(self, home: Path, etcd: str, binaries: Binaries) -> dict[str, Any]:
        address = f"{self.host}:{self.port}"
        api = self.api.removeprefix("http://")
        everyone = ["local all all trust", "host all all 127.0.0.1/32 trust"]
        replication = "host replication all 127.0.0.1/32 trust"
        accounts = {kind: {"username": "postgres"} for kind in ("superuser", "replication")}
        return {
            "scope": "pgmoor",
            "name": self.name,
            "restapi": {"listen": api, "connect_address": api},
            "etcd3": {"host": etcd},
            "bootstrap": {
                "dcs": {**PERIODS, "postgresql": {"use_pg_rewind": True, "use_slots": False}},
                "initdb": [{"encoding": "UTF8"}, {"locale": "C"}, {"auth": "trust"}, "no-sync"],
            },
            "postgresql": {
                "listen": address,
                "connect_address": address,
                "data_dir": str(self._data),
                "bin_dir": str(binaries.bindir),
                "pgpass": str(home / "pgpass"),
                "authentication": {**accounts, "rewind": {"username": "postgres"}},
                "basebackup": [{"checkpoint": "fast"}, "no-sync"],
                "pg_hba": [*everyone, replication],
                "parameters": {**SETTINGS, "unix_socket_directories": str(home)},
                "remove_data_directory_on_rewind_failure": True,
            },
        }

    def call(self, path: str, body: Any = None) -> tuple[int, str]:
        """Send a GET, or a POST if there is a body; return status and text, or raise OSError."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.api + path, data)
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def followers(self) -> int:
        """Return the number of servers that stream from this one."""
        query = "select count(*) from pg_stat_replication where state = 'streaming'"
        with psycopg.connect(self.conninfo, autocommit=True) as conn:
            row = conn.execute(query).fetchone()
        return row[0] if row else 0

    @property
    def conninfo(self) -> str:
        """A conninfo for this node's PostgreSQL."""
        return f"host={self.host} port={self.port} user=postgres connect_timeout=2"

    def kill(self) -> None:
        """Kill Patroni and its PostgreSQL at once, as if the machine were lost."""
        self.process.kill()
        with suppress(OSError, ValueError):
            postmaster = int((self._data / "postmaster.pid").read_text().split()[0])
            _kill_family(postmaster)


class Patroni:
    """Three nodes and one etcd, as a context manager."""

    def __init__(self, patroni: str, etcd: str) -> None:
        self._programs = patroni, etcd
        self.members: list[Member] = []

    def __enter__(self) -> Self:
        patroni, etcd = self._programs
        binaries = find_binaries(VERSION, None, None)
        with ExitStack() as stack:
            root = temporary_directory(binaries)
            stack.callback(shutil.rmtree, root)
            client, peer = (f"{LOOPBACK}:{free_port()}" for _ in range(2))
            self._etcd = Process(
                _etcd_command(etcd, client, peer), _directory(root / "etcd", binaries), binaries
            )
            stack.callback(self._etcd.kill)
            self._etcd.start()
            for number in range(3):
                member = Member(f"p{number}", patroni, client, root, binaries)
                self.members.append(member)
                stack.callback(member.kill)
                member.process.start()
            self.wait_complete()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def cluster(self) -> list[dict[str, Any]]:
        """Return all members as the first reachable node reports them, or an empty list."""
        for member in self.members:
            with suppress(OSError):
                status, text = member.call("/cluster")
                if status == 200:
                    found: list[dict[str, Any]] = json.loads(text)["members"]
                    return found
        return []

    def revive(self) -> None:
        """Start every node that was killed."""
        for member in self.members:
            if member.process.ended:
                member.process.start()

    def wait_complete(self) -> Member:
        """Wait until the leader has its key and both standbys stream from it; return the leader."""
        until = monotonic() + PATIENCE
        while monotonic() < until and not any(item.process.ended for item in self.members):
            for member in self.members:
                with suppress(OSError, psycopg.Error):
                    if member.call("/primary")[0] == 200 and member.followers() == 2:
                        return member
            sleep(0.1)
        logs = [self._etcd.log, *(member.process.log for member in self.members)]
        raise RuntimeError("\n--\n".join([str(self.cluster()), *logs]))


def _directory(path: Path, binaries: Binaries) -> Path:
    path.mkdir(mode=0o700)
    binaries.account.own(path)
    return path


def _etcd_command(program: str, client: str, peer: str) -> list[str]:
    options = {
        "name": "e0",
        "data-dir": "data",
        "listen-client-urls": f"http://{client}",
        "advertise-client-urls": f"http://{client}",
        "listen-peer-urls": f"http://{peer}",
        "initial-advertise-peer-urls": f"http://{peer}",
        "initial-cluster": f"e0=http://{peer}",
        # A lease must outlive an election.
        "heartbeat-interval": "50",
        "election-timeout": "500",
        "unsafe-no-fsync": "true",
    }
    return [
        program,
        *(f"--{key}={value}" if value else f"--{key}" for key, value in options.items()),
    ]


def _kill_family(postmaster: int) -> None:
    """Kill a postmaster and its children, which would otherwise finish their work."""
    children: list[int] = []
    with suppress(OSError):
        text = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text()
        children = [int(pid) for pid in text.split()]
    for pid in (postmaster, *children):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
