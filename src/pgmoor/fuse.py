"""A timer that cuts a connection when what it guards is not done in time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Self

from psycopg import pq

if TYPE_CHECKING:
    from types import TracebackType

    from .connection import ManagedConnection

# A timer that fires this late means that the loop was busy or the process was stopped: what looks
# like a silent peer may be an answer that waits to be read.
LATE = 0.05


class Fuse:
    """Cuts a connection when what it guards is not done in time; a context manager."""

    __slots__ = ("_conn", "_due", "_extended", "_loop", "_seconds", "_timer", "_why", "burnt")

    def __init__(self, conn: ManagedConnection, seconds: float, why: str) -> None:
        self._conn = conn
        self._seconds = seconds
        self._why = why
        self._extended = False
        self.burnt = False

    def __enter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._due = self._loop.time() + self._seconds
        self._timer = self._loop.call_at(self._due, self._burn)
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._timer.cancel()

    def _burn(self) -> None:
        conn = self._conn
        if conn.pgconn.status == pq.ConnStatus.BAD:
            return
        late = self._loop.time() - self._due > LATE
        if not self._extended and (late or not conn.quiet()):
            self._extended = True  # let what has arrived be read first
            self._due = self._loop.time() + LATE
            self._timer = self._loop.call_at(self._due, self._burn)
            return
        self.burnt = True
        conn.abort(conn.host_label, self._why)
