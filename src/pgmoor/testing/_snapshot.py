"""The initial contents of a data directory, and a quick way to restore them.

No server may run in the directory meanwhile; `_cluster.py` sees to that.
"""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ._binaries import Binaries

# The clock of file times ticks every 10 ms at the slowest. A file changed more recently than that
# could change again with the same time.
TICK_NS = 20_000_000

Mark = tuple[int, int]


class Snapshot:
    """A directory that never changes, and the state of the directories restored from it."""

    def __init__(self, source: Path, binaries: Binaries) -> None:
        self._source = source
        self._binaries = binaries
        self._folders: list[str] = []
        self._files: list[str] = []
        self._marks: dict[Path, dict[str, Mark]] = {}
        for folder, _, files in os.walk(source):
            within = os.path.relpath(folder, source)
            self._folders.append(within)
            self._files += [os.path.normpath(Path(within, name)) for name in files]

    def restore(self, target: Path) -> None:
        """Make `target` equal to the snapshot, copying only what changed since the last time.

        The first time, `target` must be empty.
        """
        marks = self._marks.pop(target, None)
        if marks is None:
            self._binaries.copy_tree(self._source, target)
        else:
            self._copy_changes(target, marks)
        settled = time.time_ns() - TICK_NS
        found = {name: _mark(target / name) for name in self._files}
        self._marks[target] = {
            name: mark for name, mark in found.items() if mark is not None and mark[1] < settled
        }

    def _copy_changes(self, target: Path, marks: dict[str, Mark]) -> None:
        self._remove_unknown(target)
        for name in self._folders:
            if not (target / name).exists():
                (target / name).mkdir()
                self._adopt(name, target)
        for name in self._files:
            if name not in marks or _mark(target / name) != marks[name]:
                shutil.copyfile(self._source / name, target / name)
                self._adopt(name, target)

    def _remove_unknown(self, target: Path) -> None:
        known = {*self._folders, *self._files}
        for folder, folders, files in os.walk(target):
            within = os.path.relpath(folder, target)
            for name in (*folders, *files):
                path = Path(folder, name)
                if os.path.normpath(Path(within, name)) in known:
                    continue
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                else:
                    path.unlink()
            # os.walk must not descend into what was removed.
            folders[:] = [name for name in folders if Path(folder, name).exists()]

    def _adopt(self, name: str, target: Path) -> None:
        shutil.copymode(self._source / name, target / name)
        self._binaries.account.own(target / name)


def _mark(path: Path) -> Mark | None:
    """Return a value that changes whenever the file is written to, replaced or renamed."""
    try:
        facts = path.stat()
    except FileNotFoundError:
        return None
    return facts.st_ino, facts.st_ctime_ns
