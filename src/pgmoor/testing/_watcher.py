"""Ends a cluster's servers when the process that started them was killed.

Runs as a program of its own, with the standard library only. SIGKILL skips exit handlers, but the
kernel closes the process's end of a pipe. (PR_SET_PDEATHSIG is no alternative: Linux sends that
signal when the *thread* that started the servers ends, too.)
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

DISMISSED = b"."
TIMEOUT = 10.0  # seconds
PROGRAMS = ("postgres", "initdb", "pg_basebackup", "pg_rewind")


class Watcher:
    """The watching process, seen from the cluster; does nothing where there is no `/proc`."""

    def __init__(self, root: Path) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        if Path("/proc/self/cwd").exists():
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", __file__, str(root)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # so that the terminal's signals don't reach it
            )

    def dismiss(self) -> None:
        """End it: the cluster has ended its servers itself."""
        process, self._process = self._process, None
        if process is None or process.stdin is None:
            return
        with contextlib.suppress(BrokenPipeError):
            # Closing the pipe alone is not enough: a forked child may hold it open.
            process.stdin.write(DISMISSED)
            process.stdin.close()
        try:
            process.wait(TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def watch(root: Path) -> None:
    """Wait until dismissed; if the cluster's process ends first, remove its servers and files."""
    if os.read(sys.stdin.fileno(), 1) == DISMISSED or not root.exists():
        return
    deadline = time.monotonic() + TIMEOUT
    while (pids := _processes_in(root)) and time.monotonic() < deadline:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)
    for lock in root.glob("*/data/postmaster.pid"):
        _remove_shared_memory(lock)
    shutil.rmtree(root, ignore_errors=True)


def _processes_in(root: Path) -> list[int]:
    """Return the pids of PostgreSQL's processes whose working directory is in *root*."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):  # it has ended, or belongs to another user
                inside = (entry / "cwd").readlink().is_relative_to(root)
                if inside and (entry / "comm").read_text().strip() in PROGRAMS:
                    found.append(int(entry.name))
    return found


def _remove_shared_memory(lock: Path) -> None:
    with contextlib.suppress(OSError, IndexError, ValueError):
        segment = int(lock.read_text().splitlines()[6].split()[1])
        ctypes.CDLL(None).shmctl(segment, 0, None)  # 0 is IPC_RMID


if __name__ == "__main__":
    watch(Path(sys.argv[1]))
