"""One `postgres` and its child processes: start, signal, stop, clean up. All of it blocks.

SQL, and the server's role in a cluster, are in `_member.py`.
"""

from __future__ import annotations

import contextlib
import ctypes
import enum
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from ._binaries import Binaries, ClusterError
from ._ports import LOOPBACK

if TYPE_CHECKING:
    from collections.abc import Callable

StopMode: TypeAlias = Literal["smart", "fast", "immediate"]
SIGNALS = {"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT}


class NodeState(enum.StrEnum):
    """The state of a server's processes."""

    RUNNING = "running"
    FROZEN = "frozen"
    """Every process is stopped by SIGSTOP: the kernel accepts connections, the server is silent."""
    STOPPED = "stopped"
    """Never started, or shut down by `stop`."""
    DEAD = "dead"
    """Killed or crashed."""


class Server:
    """The processes of one data directory. The postmaster is a child of this process."""

    def __init__(self, binaries: Binaries, home: Path, name: str, port: int) -> None:
        self.binaries = binaries
        self.home = home
        self.name = name
        self.port = port
        self.data: Path = home / "data"
        self.log: Path = home / "log"
        self._process: subprocess.Popen[bytes] | None = None
        self._frozen = False

    @property
    def pid(self) -> int | None:
        """The postmaster's process id; None while it isn't running."""
        if self._process is None or self._process.poll() is not None:
            return None
        return self._process.pid

    @property
    def state(self) -> NodeState:
        """The state of the processes, also after a crash or a signal from elsewhere."""
        if self.pid is not None:
            return NodeState.FROZEN if self._frozen else NodeState.RUNNING
        if self._process is None or self._process.returncode == 0:
            return NodeState.STOPPED
        return NodeState.DEAD

    def start(self) -> None:
        """Start the server in the role its data directory says."""
        if self.pid is not None:
            raise ClusterError(f"{self.name} is running already")
        self.clear_remains()
        # Settings that differ from node to node are arguments, because pg_rewind and pg_basebackup
        # copy the other node's files. cluster_name is also the application_name of a standby.
        own = {
            "port": str(self.port),
            "listen_addresses": LOOPBACK,
            "unix_socket_directories": str(self.home),
            "cluster_name": self.name,
        }
        options = [word for key, value in own.items() for word in ("-c", f"{key}={value}")]
        with self.log.open("ab") as log:
            self._process = self.binaries.spawn(
                "-D", str(self.data), *options, cwd=self.home, log=log
            )
        self._frozen = False

    def wait_ready(self, timeout: float) -> None:
        """Wait until the server accepts connections; raise ClusterError if it ends instead."""

        def ready() -> bool:
            if self.pid is None:
                raise ClusterError(self.explain("ended while it was starting"))
            lines = self._postmaster_file()
            return len(lines) > 7 and lines[0] == str(self.pid) and lines[7].strip() == "ready"

        self.wait(ready, timeout, "did not accept connections")

    def stop(self, mode: StopMode, timeout: float) -> None:
        """Shut the server down; raise ClusterError if it hasn't ended after `timeout` seconds."""
        if self._process is None or self.pid is None:
            return
        self.thaw()
        self._process.send_signal(SIGNALS[mode])
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise ClusterError(self.explain(f"did not stop within {timeout:g} s")) from None

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the postmaster, if there is one."""
        if self._process is not None:
            self._process.send_signal(number)

    def kill(self) -> None:
        """Send SIGKILL to every process; return when all are gone and the port refuses."""
        if self._process is None or self.pid is None:
            return
        family = self._stop_family()
        for pid in family:
            os.kill(pid, signal.SIGKILL)
        self._process.wait()
        self.wait(lambda: not _alive(family), 10, "was killed, but not all its processes ended")
        self.wait(self._refuses, 10, "was killed, but its port did not refuse connections")

    def freeze(self) -> None:
        """Send SIGSTOP to every process; return when all are stopped."""
        if self.pid is None:
            raise ClusterError(f"{self.name} is not running")
        family = self._stop_family()
        for pid in family:
            os.kill(pid, signal.SIGSTOP)
        self._frozen = True
        self.wait(lambda: _alive(family) <= _alive(family, "Tt"), 10, "was not stopped by SIGSTOP")

    def thaw(self) -> None:
        """Send SIGCONT to every process of a frozen server; do nothing to any other."""
        if self._process is None or self.pid is None or not self._frozen:
            return
        for pid in [*_children(self._process.pid), self._process.pid]:
            os.kill(pid, signal.SIGCONT)
        self._frozen = False

    def clear_remains(self) -> None:
        """Remove the lock file and the shared memory that a killed server left.

        Another process may have the pid in the lock file by now, and the kernel keeps segments of
        shared memory until they are removed; a few thousand is its limit.
        """
        lines = self._postmaster_file()
        if len(lines) > 6 and len(lines[6].split()) == 2:
            segment = lines[6].split()[1]
            # If the postmaster alone was killed, its children end by themselves a little later.
            self.wait(
                lambda: not _is_attached(segment), 10, "is gone, but its children did not end"
            )
            remove = 0  # IPC_RMID
            ctypes.CDLL(None).shmctl(int(segment), remove, None)
        (self.data / "postmaster.pid").unlink(missing_ok=True)

    def wipe(self) -> None:
        """Empty the data directory of a server that isn't running."""
        self.clear_remains()
        for path in self.data.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()

    def wait(self, condition: Callable[[], bool], timeout: float, failure: str) -> None:
        """Wait until `condition()` is true; raise ClusterError after `timeout` seconds."""
        deadline = time.monotonic() + timeout
        while not condition():
            if time.monotonic() > deadline:
                raise ClusterError(self.explain(f"{failure} within {timeout:g} s"))
            time.sleep(0.005)

    def explain(self, failure: str) -> str:
        """Return a message: the failure and the last lines of the server's log."""
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        return "\n".join([f"{self.name} (port {self.port}) {failure}; its log ends:", *lines[-20:]])

    def _stop_family(self) -> list[int]:
        """Send SIGSTOP to the postmaster; return the pids of its children and its own.

        A stopped postmaster neither forks nor reaps: the list stays complete, and the kernel can't
        give one of its pids to another process.
        """
        assert self._process is not None
        parent = self._process.pid
        self._process.send_signal(signal.SIGSTOP)
        self.wait(
            lambda: self.pid is None or parent in _alive([parent], "Tt"),
            10,
            "was not stopped by SIGSTOP",
        )
        return [] if self.pid is None else [*_children(parent), parent]

    def _refuses(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex((LOOPBACK, self.port)) != 0

    def _postmaster_file(self) -> list[str]:
        # Lines: pid, data directory, start time, port, socket directory, address, key and id of the
        # shared memory, status ("starting", "standby", "ready" or "stopping").
        with contextlib.suppress(FileNotFoundError):
            return (self.data / "postmaster.pid").read_text().splitlines()
        return []


def _children(parent: int) -> list[int]:
    return [pid for pid, (above, _) in _processes().items() if above == parent]


def _alive(pids: list[int], states: str = "") -> set[int]:
    """Return the running ones of `pids`, only those in one of `states` if any are given."""
    table = _processes()
    found = {pid: table[pid][1] for pid in pids if pid in table}
    return {pid for pid, state in found.items() if (state in states if states else state != "Z")}


def _processes() -> dict[int, tuple[int, str]]:
    """Return every process's parent and state letter, by pid."""
    if not Path("/proc/self/stat").exists():
        table = subprocess.run(
            ["ps", "-A", "-o", "pid=,ppid=,stat="], capture_output=True, text=True, check=True
        )
        rows = [line.split() for line in table.stdout.splitlines()]
        return {int(pid): (int(parent), state[0]) for pid, parent, state, *_ in rows}
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            # A process may end between the listing and the reading.
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                # The name in brackets may contain brackets and spaces.
                words = (entry / "stat").read_text().rpartition(")")[2].split()
                found[int(entry.name)] = (int(words[1]), words[0])
    return found


def _is_attached(segment: str) -> bool:
    """Return whether a process uses a segment of shared memory; False where that is unknown."""
    with contextlib.suppress(FileNotFoundError):
        # Columns: key, id, permissions, size, creator's pid, last pid, number of attachments.
        rows = [line.split() for line in Path("/proc/sysvipc/shm").read_text().splitlines()]
        return any(row[1] == segment and row[6] != "0" for row in rows)
    return False
