"""Ends a cluster's servers when the process that started them is gone without having done so.

Run as a program of its own, with the standard library only. SIGKILL leaves a process no time for
its exit handlers; its end of a pipe is closed all the same. (Linux can send a signal to the
children of a process that dies, PR_SET_PDEATHSIG, but sends it when the *thread* that started them
ends, too.)
"""

import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

ALL_IS_WELL = b"."
PATIENCE = 10.0
PROGRAMS = ("postgres", "initdb", "pg_basebackup", "pg_rewind")


class Watcher:
    """The other process, as the cluster sees it; does nothing where there is no `/proc`."""

    def __init__(self, root: Path) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        if Path("/proc/self/cwd").exists():
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", __file__, str(root)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # what ends our terminal's processes is not for this one
            )

    def dismiss(self) -> None:
        """End it: the servers have been ended by whoever started them."""
        process, self._process = self._process, None
        if process is None or process.stdin is None:
            return
        with contextlib.suppress(BrokenPipeError):
            # Said rather than shown by closing: a forked child may hold the pipe open.
            process.stdin.write(ALL_IS_WELL)
            process.stdin.close()
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def watch(root: Path) -> None:
    """Wait for the word or the end of the other side; after the latter, leave nothing behind."""
    if os.read(sys.stdin.fileno(), 1) == ALL_IS_WELL or not root.exists():
        return
    deadline = time.monotonic() + PATIENCE
    while (pids := _processes_in(root)) and time.monotonic() < deadline:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)
    for lock in root.glob("*/data/postmaster.pid"):
        _remove_shared_memory(lock)
    shutil.rmtree(root, ignore_errors=True)


def _processes_in(root: Path) -> list[int]:
    """Return PostgreSQL's processes that work in a directory: each server's are in its own."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):  # it has ended, or is another user's
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
