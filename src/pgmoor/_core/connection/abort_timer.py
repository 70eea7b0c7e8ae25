"""A timer that cuts a connection when the work it guards is not done in time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Self

from pgmoor._core.util.awake_limit import LATE

from .abortable import BAD

if TYPE_CHECKING:
    from types import TracebackType

    from .abortable import AbortableConnection


def abort_after(conn: AbortableConnection, seconds: float, reason: str) -> AbortTimer:
    """Cut *conn* if the `with` block takes longer than *seconds*; `expired` tells if it did."""
    return AbortTimer(conn, seconds, reason)


class AbortTimer:
    """The context manager that `abort_after()` returns."""

    __slots__ = ("_conn", "_due", "_extended", "_loop", "_reason", "_seconds", "_timer", "expired")

    def __init__(self, conn: AbortableConnection, seconds: float, reason: str) -> None:
        self._conn = conn
        self._seconds = seconds
        self._reason = reason
        self._extended = False
        self.expired = False

    def __enter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._due = self._loop.time() + self._seconds
        self._timer = self._loop.call_at(self._due, self._expire)
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._timer.cancel()

    def _expire(self) -> None:
        conn = self._conn
        if conn.pgconn.status == BAD:
            return
        late = self._loop.time() - self._due > LATE
        if not self._extended and (late or conn.has_unread()):
            self._extended = True  # let what has arrived be read first
            self._due = self._loop.time() + LATE
            self._timer = self._loop.call_at(self._due, self._expire)
            return
        self.expired = True
        conn.abort(self._reason)
