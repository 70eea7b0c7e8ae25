"""How far a dial has come, and whether its server may know of it."""

from __future__ import annotations

import socket
from contextlib import contextmanager
from contextvars import ContextVar
from time import monotonic
from typing import TYPE_CHECKING

from psycopg import pq

from pgmoor._core.hosts.hearing import NEVER, Hearing

from .polling import bytes_unacknowledged, bytes_waiting

if TYPE_CHECKING:
    from collections.abc import Iterator

    from psycopg.pq.abc import PGconn

BAD = pq.ConnStatus.BAD
# A login takes fewer, with TLS and SCRAM. A server that sends a byte a second has said nothing.
MOST_READS = 16


class DialProgress:
    """What one dial has heard so far; several addresses may be tried in it."""

    def __init__(self, hearing: Hearing | None = None) -> None:
        self.began_at: float | None = None  # when the host was first asked
        self.heard_at: float = NEVER
        self.longest_wait: float = 0.0  # seconds: the longest that one answer has taken
        self._hearing = hearing or Hearing()
        self._reads = 0
        self._attempts: list[PGconn] = []

    def begins(self) -> None:
        """Note that names and credentials are known, and the host is asked now."""
        if self.began_at is None:
            self.began_at = monotonic()

    def connects(self, pgconn: PGconn) -> None:
        """Note that a connection is being made."""
        self._attempts.append(pgconn)

    def ends(self, pgconn: PGconn) -> None:
        """Note that a connection was made, or could not be."""
        if pgconn in self._attempts:
            self._attempts.remove(pgconn)

    def waited(self, pgconn: PGconn, seconds: float) -> None:
        """Note how long something has taken: the handshake of TCP, or until something came."""
        self.longest_wait = max(self.longest_wait, seconds)
        if self._reads < MOST_READS and has_received(pgconn):
            self._reads += 1
            honest = self._reads < MOST_READS
            self.heard_at = self._hearing.dial_at = monotonic() if honest else NEVER

    @property
    def has_no_end(self) -> bool:
        """Whether more came than any login takes: nothing good is to be expected."""
        return self._reads >= MOST_READS

    def is_delivered(self) -> bool:
        """Return whether the server may know of a connection that is being made."""
        return any(is_delivered(pgconn) for pgconn in self._attempts)


# The dial that this task is part of.
progress: ContextVar[DialProgress | None] = ContextVar("pgmoor_dial", default=None)


@contextmanager
def reporting_to(dial: DialProgress) -> Iterator[None]:
    """Have the connections that are made in the block report to *dial*."""
    token = progress.set(dial)
    try:
        yield
    finally:
        progress.reset(token)


def has_received(pgconn: PGconn) -> bool:
    """Return whether bytes wait to be read; the end of a connection is none."""
    return bytes_waiting(pgconn.socket) > 0


def is_delivered(pgconn: PGconn) -> bool:
    """Return whether the peer may have got all that was sent; its kernel has acknowledged it.

    What it has not got can be given up at no cost to it.
    """
    if pgconn.status == BAD:
        return False
    try:
        raw = socket.socket(fileno=pgconn.socket)
    except (OSError, ValueError):  # there is none yet
        return False
    try:
        raw.getpeername()
        if raw.family == socket.AF_UNIX:
            return True
        return not bytes_unacknowledged(raw.fileno())
    except OSError:
        return False  # its first packet was not answered
    finally:
        raw.detach()
