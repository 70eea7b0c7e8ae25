"""Where to put the servers' directories: quick, accessible to their user, and with a short path."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from ._binaries import Binaries, ClusterError

if TYPE_CHECKING:
    from collections.abc import Iterator

# Data directories go to /dev/shm if it has more bytes free than this.
MEMORY_NEEDED = 4 << 30


def temporary_directory(binaries: Binaries) -> Path:
    """Make a directory that the servers can access, short enough for the path of a Unix socket."""
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
    # Creating the thousand small files of a server takes a tenth of the time in memory. But a
    # container's /dev/shm is often too small for them, and TMPDIR takes precedence.
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
