"""Servers of the soak that died by themselves: the harness replaces them and goes on.

PostgreSQL 18 may panic in a promotion, for one, when a standby lacks the beginning of its newest
segment of WAL.
"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pgmoor.testing import Node
    from soak.journal import Journal

KILLED = -signal.SIGKILL  # by the harness


def died_by_itself(node: Node) -> bool:
    """Return whether a server has ended, and neither by a shutdown nor by the harness."""
    process = node.member.server._process
    return process is not None and process.poll() not in (None, 0, KILLED)


class Deaths:
    """The deaths that were found, each of which is reported once."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._reported: set[int] = set()  # postmasters' process ids

    def found(self, node: Node) -> bool:
        """Return whether a server died by itself, and report it."""
        if not died_by_itself(node):
            return False
        process = node.member.server._process
        assert process is not None
        if process.pid not in self._reported:
            self._reported.add(process.pid)
            self._journal.note(node.member.server.explain("died by itself"))
            self._journal.counts["servers that died by themselves"] += 1
        return True
