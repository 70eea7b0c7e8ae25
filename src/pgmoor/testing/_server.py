"""Knows one `postgres` and its child processes: starting, signalling and burying them, by pid only.

Leaves what it is asked in SQL, and its place in a cluster, to `member.py`. All of it blocks.
"""

import contextlib
import ctypes
import enum
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal, TypeAlias

from ._binaries import Binaries, ClusterError
from ._ports import LOOPBACK

StopMode: TypeAlias = Literal["smart", "fast", "immediate"]
SIGNALS = {"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT}


class NodeState(enum.Enum):
    """What has become of a server's processes."""

    RUNNING = "running"
    FROZEN = "frozen"
    """Every process has got SIGSTOP: the kernel still accepts connections, nobody answers them."""
    STOPPED = "stopped"
    """Never started, or ended as `stop` asked."""
    DEAD = "dead"
    """Killed or crashed."""


class Server:
    """The processes of one data directory, started directly so that the postmaster is our child."""

    def __init__(self, binaries: Binaries, home: Path, name: str, port: int) -> None:
        self.binaries = binaries
        self.home = home
        self.name = name
        self.port = port
        self.data = home / "data"
        self.log = home / "log"
        self._process: subprocess.Popen[bytes] | None = None
        self._frozen = False

    @property
    def pid(self) -> int | None:
        """The postmaster's process id; None while it isn't there."""
        if self._process is None or self._process.poll() is not None:
            return None
        return self._process.pid

    @property
    def state(self) -> NodeState:
        """What has become of the processes, whoever brought it about."""
        if self.pid is not None:
            return NodeState.FROZEN if self._frozen else NodeState.RUNNING
        if self._process is None or self._process.returncode == 0:
            return NodeState.STOPPED
        return NodeState.DEAD

    def start(self) -> None:
        """Start the server with what its data directory says, primary or standby."""
        if self.pid is not None:
            raise ClusterError(f"{self.name} is running already")
        self.clear_remains()
        # What tells one node from another is given here and not in a file, because pg_rewind and
        # pg_basebackup bring the other node's files along. cluster_name is also the
        # application_name under which a standby streams.
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
        """Return when the server accepts connections; raise ClusterError when it ended instead."""

        def ready() -> bool:
            if self.pid is None:
                raise ClusterError(self.explain("ended while it was starting"))
            lines = self._postmaster_file()
            return len(lines) > 7 and lines[0] == str(self.pid) and lines[7].strip() == "ready"

        self.wait(ready, timeout, "did not accept connections")

    def stop(self, mode: StopMode, timeout: float) -> None:
        """Shut the server down; raise ClusterError when it hasn't ended after `timeout` seconds."""
        if self._process is None or self.pid is None:
            return
        self.thaw()
        self._process.send_signal(SIGNALS[mode])
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise ClusterError(self.explain(f"did not stop within {timeout:g} s")) from None

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the postmaster, if it is there."""
        if self._process is not None:
            self._process.send_signal(number)

    def kill(self) -> None:
        """End every process at once with SIGKILL; return when all are gone and the port refuses."""
        if self._process is None or self.pid is None:
            return
        family = self._stop_family()
        for pid in family:
            os.kill(pid, signal.SIGKILL)
        self._process.wait()
        self.wait(lambda: not _alive(family), 10, "left processes behind")
        self.wait(self._refuses, 10, "is dead, but its port still answers")

    def freeze(self) -> None:
        """Stop every process where it stands; return when all stand still."""
        if self.pid is None:
            raise ClusterError(f"{self.name} is not running")
        family = self._stop_family()
        for pid in family:
            os.kill(pid, signal.SIGSTOP)
        self._frozen = True
        self.wait(lambda: _alive(family) <= _alive(family, "Tt"), 10, "did not stand still")

    def thaw(self) -> None:
        """Let a frozen server go on; nothing happens to any other."""
        if self._process is None or self.pid is None or not self._frozen:
            return
        for pid in [*_children(self._process.pid), self._process.pid]:
            os.kill(pid, signal.SIGCONT)
        self._frozen = False

    def clear_remains(self) -> None:
        """Remove what a killed server left: its lock file and its segment of shared memory.

        The lock file names a pid that may belong to somebody else by now, and the kernel keeps
        segments for ever, of which it allows a few thousand.
        """
        lines = self._postmaster_file()
        if len(lines) > 6 and len(lines[6].split()) == 2:
            segment = lines[6].split()[1]
            # The children of a postmaster that others killed end by themselves, a little later.
            self.wait(lambda: not _is_attached(segment), 10, "left processes behind")
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
        """Return when `condition()` holds; raise ClusterError after `timeout` seconds without."""
        deadline = time.monotonic() + timeout
        while not condition():
            if time.monotonic() > deadline:
                raise ClusterError(self.explain(f"{failure} within {timeout:g} s"))
            time.sleep(0.005)

    def explain(self, failure: str) -> str:
        """Return a message that says what went wrong, with the last lines of the server's log."""
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        return "\n".join([f"{self.name} (port {self.port}) {failure}; its log ends:", *lines[-20:]])

    def _stop_family(self) -> list[int]:
        """Stop the postmaster and return the pids of its children and its own.

        A stopped postmaster neither forks nor reaps: the list stays complete, and none of its pids
        can come to belong to anybody else.
        """
        assert self._process is not None
        parent = self._process.pid
        self._process.send_signal(signal.SIGSTOP)
        self.wait(
            lambda: self.pid is None or parent in _alive([parent], "Tt"), 10, "did not stand still"
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
    """Return those of `pids` that live, and are in one of `states` if any are given."""
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
                # The name in brackets may itself hold brackets and blanks.
                words = (entry / "stat").read_text().rpartition(")")[2].split()
                found[int(entry.name)] = (int(words[1]), words[0])
    return found


def _is_attached(segment: str) -> bool:
    """Return whether a process uses a segment of shared memory; False where that isn't known."""
    with contextlib.suppress(FileNotFoundError):
        # Columns: key, id, permissions, size, creator's pid, last pid, number of attachments.
        rows = [line.split() for line in Path("/proc/sysvipc/shm").read_text().splitlines()]
        return any(row[1] == segment and row[6] != "0" for row in rows)
    return False
