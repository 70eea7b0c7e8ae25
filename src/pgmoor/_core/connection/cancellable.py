"""A connection whose task may be cancelled: a healthy one survives that, a silent one is cut.

What is under way is cancelled at the server, see `cancellation`. When a cancelled task leaves a
block, psycopg sends more by itself, such as ROLLBACK. A silent server would hold that up until the
silence is noticed, so that has the same limit. The statements of the task itself have none.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from inspect import getgeneratorlocals
from time import monotonic
from typing import TYPE_CHECKING, Any, TypeVar, cast

from psycopg import errors

from pgmoor._core.util.asynctools import spawn

from .abort_timer import abort_after
from .abortable import ACTIVE, AT_REST, BAD, AbortableConnection
from .cancellation import end_request, finish_cancelled, request_cancel

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine
    from contextlib import AbstractAsyncContextManager, _AsyncGeneratorContextManager

    from psycopg import AsyncPipeline
    from psycopg.abc import PQGen
    from psycopg.pq.abc import PGconn

T = TypeVar("T")
RV = TypeVar("RV")

ENDED_LATE = "the server did not confirm within cancel_timeout that what was given up has ended"
# psycopg's generators that end something: a transaction, a cursor of the server, a COPY, a stream.
ROLLBACK = "_rollback_gen"
LEAVE_NOTHING = frozenset({ROLLBACK, "_close_gen"})  # if the session is lost meanwhile
OF_WHAT_IS_CANCELLED = frozenset({"_end_copy_out_gen", "_stream_fetchone_gen"})
END_OF_COPY = "copy_end"
ENDS = frozenset({"FATAL", "PANIC"})  # severities
# They end it for an error, if they have one in this variable, and otherwise well.
FOR_AN_ERROR = {END_OF_COPY: "error", "_exit_gen": "exc_val"}
ENDINGS = LEAVE_NOTHING | OF_WHAT_IS_CANCELLED | FOR_AN_ERROR.keys()


def _is_for_an_error(gen: PQGen[Any], name: str) -> bool:
    return getgeneratorlocals(gen).get(FOR_AN_ERROR[name]) is not None


def _tells_of_the_end(error: BaseException) -> bool:
    """Return whether a server has ended the session with this error."""
    return isinstance(error, errors.Error) and error.diag.severity_nonlocalized in ENDS


class CancellableConnection(AbortableConnection):
    """A connection that outlives the cancellation of a task that uses it."""

    cancel_timeout: float = 0.0  # seconds; set when a pool adopts the connection

    def __init__(self, pgconn: PGconn, *args: Any, **kwargs: Any) -> None:
        super().__init__(pgconn, *args, **kwargs)
        self.lost_unsaid: bool = False  # it was cut, and perhaps nobody has got an error for that
        self._leaving: set[asyncio.Task[Any] | None] = set()  # cancelled tasks that leave a block
        self._request: asyncio.Task[None] | None = None  # to cancel what is given up
        self._gave_up_at: float = 0.0  # when that was begun

    def _disown(self) -> None:
        """Keep everything in a forked child from the server; as the base class does."""
        self.cancel_timeout = 0.0  # no request to cancel what the parent runs
        super()._disown()

    async def _cancelled(self, gen: PQGen[Any]) -> None:
        if self.cancel_timeout > 0:
            await finish_cancelled(self, gen, self.cancel_timeout)
        else:  # it is still being made
            self.discard()

    def pipeline(self, *args: Any, **kwargs: Any) -> _AsyncGeneratorContextManager[AsyncPipeline]:
        """Switch to pipeline mode for the time of a block."""
        return self._left_in_time(super().pipeline(*args, **kwargs))

    def _pipeline_nolock(self) -> _AsyncGeneratorContextManager[AsyncPipeline]:
        return self._left_in_time(super()._pipeline_nolock())  # that of executemany()

    @asynccontextmanager
    async def _left_in_time(self, block: AbstractAsyncContextManager[T]) -> AsyncIterator[T]:
        """Enter a pipeline; bound what it sends when a cancelled task leaves it."""
        lived = False
        try:
            async with block as entered:
                try:
                    yield entered
                except BaseException as error:
                    lived = self.pgconn.status != BAD and not _tells_of_the_end(error)
                    if (task := self._cancelled_task()) is not None:
                        self._leaving.add(task)
                    raise
        finally:
            if lived and self.pgconn.status == BAD:  # psycopg has only logged that
                self._lost_work()
            if self._leaving:
                self._leaving.discard(asyncio.current_task())

    async def _try_cancel(self, *, timeout: float = 5.0) -> None:
        """Have the server cancel a stream or a COPY that is left early; psycopg calls this.

        Its end is read meanwhile.
        """
        if self.cancel_timeout > 0:
            self._give_up()
        elif self.owner is None:  # not in a forked child: the query is the parent's
            await super()._try_cancel(timeout=timeout)

    def _give_up(self) -> None:
        self._gave_up_at = monotonic()
        self._request = spawn(request_cancel(self, self.cancel_timeout), "pgmoor-cancel")

    def wait(
        self, gen: PQGen[RV], interval: float = 0.1, timeout: float | None = None
    ) -> Coroutine[Any, Any, RV]:
        """Run one of psycopg's generators, in bounded time if it ends work that is given up."""
        name = getattr(gen, "__name__", "")
        if name in ENDINGS or self._leaving:
            if self._gives_up(gen, name):
                return self._wait_in_time(gen, name, interval, timeout)
            if name == END_OF_COPY and _is_for_an_error(gen, name):
                return self._wait_for_failed_copy(gen, interval, timeout)
        return super().wait(gen, interval, timeout)

    async def _wait_for_failed_copy(
        self, gen: PQGen[RV], interval: float, timeout: float | None
    ) -> RV:
        lived = self.pgconn.status != BAD
        try:
            return await super().wait(gen, interval, timeout)
        except errors.Error:  # psycopg only logs it
            if lived and self.pgconn.status == BAD:
                self._lost_work()
            raise

    def _gives_up(self, gen: PQGen[Any], name: str) -> bool:
        """Return whether a generator only ends what nobody waits for any more."""
        if name in OF_WHAT_IS_CANCELLED and self._request is not None:
            return True
        task = self._cancelled_task()
        if task is None:
            return False
        if task in self._leaving:
            return True
        if name in FOR_AN_ERROR:  # without an error it may commit
            # In a pipeline it is only sent, and its answer read when the pipeline's block ends.
            return self._pipeline is None and _is_for_an_error(gen, name)
        return name in LEAVE_NOTHING

    async def _wait_in_time(
        self, gen: PQGen[RV], name: str, interval: float, timeout: float | None
    ) -> RV:
        lived = self.pgconn.status != BAD
        # A pipeline waits for the results of all that it has sent; a COPY may wait for a lock.
        busy = (self._pipeline is not None or name == END_OF_COPY) and self._is_active()
        if self._request is None and busy:
            self._give_up()
        since = monotonic() if self._request is None else self._gave_up_at
        seconds = max(since + self.cancel_timeout - monotonic(), 0.0)
        with abort_after(self, seconds, ENDED_LATE) as limit:
            try:
                return await super().wait(gen, interval, timeout)
            except errors.Error:
                if not (limit.expired or self.pgconn.status == BAD):
                    raise
                if lived and name != ROLLBACK:
                    self._lost_work()
                if name in LEAVE_NOTHING:
                    return cast("RV", None)  # the cancellation is to be delivered
                raise
            finally:
                if self._pipeline is not None or not self._is_active():
                    request, self._request = self._request, None
                    await end_request(self, request)

    def _lost_silently(self, gen: PQGen[Any] | None, before: int) -> None:
        # A rollback would have left nothing, and nothing was done before a first statement.
        if before != AT_REST and getattr(gen, "__name__", "") != ROLLBACK:
            self._lost_work()

    def _lost_work(self) -> None:
        """Note that work is lost with the session, unless it was committed or meant to be lost."""
        closed = self.pgconn.status == BAD and not self.broken
        committed = self.autocommit and not self._num_transactions
        if not (closed or committed):
            self.lost_unsaid = True

    def _forget_loss(self) -> None:
        """Note that the holder gets an error for the loss, or that nothing was to be kept."""
        self.lost_unsaid = False

    def _is_active(self) -> bool:
        return self.pgconn.transaction_status == ACTIVE

    def _cancelled_task(self) -> asyncio.Task[Any] | None:
        """Return the running task if it is being cancelled, and that is to be bounded."""
        task = asyncio.current_task()
        cancelled = task is not None and task.cancelling() > 0 and self.cancel_timeout > 0
        return task if cancelled else None
