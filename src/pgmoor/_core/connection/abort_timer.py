"""A timer that cuts a connection when the work it guards is not done in time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Self

from pgmoor._core.util.awake_limit import LATE

from .abortable import BAD

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from .abortable import AbortableConnection


def abort_after(
    conn: AbortableConnection,
    seconds: float,
    reason: str,
    goes_on: Callable[[], bool] | None = None,
) -> AbortTimer:
    """Cut *conn* if the `with` block takes longer than *seconds*; `expired` tells if it did.

    *goes_on* is called then: while it returns True, the block gets its time once more.
    """
    return AbortTimer(conn, seconds, reason, goes_on)


class AbortTimer:
    """The context manager that `abort_after()` returns."""

    __slots__ = (
        "_conn",
        "_due",
        "_extended",
        "_goes_on",
        "_loop",
        "_reason",
        "_seconds",
        "_timer",
        "expired",
    )

    def __init__(
        self,
        conn: AbortableConnection,
        seconds: float,
        reason: str,
        goes_on: Callable[[], bool] | None = None,
    ) -> None:
        self._goes_on = goes_on
        self._conn = conn
        self._seconds = seconds
        self._reason = reason
        self._extended = False
        self.expired = False

    def __enter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._start(self._seconds)
        return self

    def _start(self, seconds: float) -> None:
        self._due = self._loop.time() + seconds
        self._timer = self._loop.call_at(self._due, self._expire)

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
            self._start(LATE)
            return
        if self._goes_on is not None and self._goes_on():
            self._extended = False
            self._start(self._seconds)
            return
        self.expired = True
        conn.abort(self._reason)
