"""Knows where servers' directories may lie: quick, reachable for their user, and with a short path.

Leaves what goes into them, and their removal, to `cluster.py`.
"""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ._binaries import Binaries, ClusterError

# Bytes free in /dev/shm from which on the data directories go there.
MEMORY_NEEDED = 4 << 30


def temporary_directory(binaries: Binaries) -> Path:
    """Make a directory the servers can reach, short enough for the path of a Unix socket."""
    for parent in _temporary_parents():
        root = Path(tempfile.mkdtemp(prefix="pgm-", dir=parent))
        binaries.account.own(root)
        if len(f"{root}/n00/.s.PGSQL.65535.lock") <= 103:
            with contextlib.suppress(ClusterError):
                binaries.list_directory(root)
                return root
        root.rmdir()
    raise ClusterError("no temporary directory is short enough and open to the servers' user")


def _temporary_parents() -> Iterator[str]:
    # The thousand small files of a server are created in memory in a tenth of the time. But the
    # /dev/shm of a container is often too small for them, and who sets TMPDIR means it.
    memory = Path("/dev/shm")  # noqa: S108 - mkdtemp makes it safe
    if "TMPDIR" not in os.environ and os.access(memory, os.W_OK):
        facts = os.statvfs(memory)
        if facts.f_bavail * facts.f_frsize > MEMORY_NEEDED:
            yield str(memory)
    yield tempfile.gettempdir()
    yield "/tmp"  # noqa: S108 - mkdtemp makes it safe


def make_directory(path: Path, binaries: Binaries) -> Path:
    """Make a directory that only the servers' user may enter."""
    path.mkdir(mode=0o700)
    binaries.account.own(path)
    return path
