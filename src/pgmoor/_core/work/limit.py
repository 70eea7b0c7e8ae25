"""The one timer of an attempt: it ends the block, or cuts a COMMIT that is not answered."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from pgmoor._core.connection.abort_timer import abort_after

if TYPE_CHECKING:
    from pgmoor._core.connection.abort_timer import AbortTimer
    from pgmoor._core.connection.managed import ManagedConnection

COMMIT_LATE = "COMMIT was not answered within the timeout of its transaction"


class Limit:
    """Cancels a task after some seconds; once it commits, cuts its connection instead.

    The former is what `asyncio.timeout()` does, without its coroutines.
    """

    __slots__ = ("_cancelling", "_conn", "_cutting", "_fired", "_task", "_timer")

    def __init__(self, task: asyncio.Task[object], seconds: float) -> None:
        loop = asyncio.get_running_loop()
        self._task = task
        self._cancelling = task.cancelling()
        self._fired = False
        self._conn: ManagedConnection | None = None
        self._cutting: AbortTimer | None = None
        self._timer = loop.call_at(loop.time() + seconds, self._expire)

    def ended(self, error: BaseException | None) -> bool:
        """Return whether the time is over, and not *error* but this is why the block has ended."""
        if not self._fired:
            return False
        mine = self._task.uncancel() <= self._cancelling
        return error is None or (mine and isinstance(error, asyncio.CancelledError))

    def commits(self, conn: ManagedConnection) -> None:
        """Cut *conn* from now on."""
        self._conn = conn

    def stop(self) -> None:
        """End it."""
        self._timer.cancel()
        if self._cutting is not None:
            self._cutting.__exit__(None, None, None)

    def _expire(self) -> None:
        if self._conn is None:
            self._fired = True
            self._task.cancel()
        else:
            self._cutting = abort_after(self._conn, 0, COMMIT_LATE).__enter__()
