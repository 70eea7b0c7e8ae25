"""Limits for waits on others that do not count the time in which the event loop stood still."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING, Self

import anyio

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import TracebackType

# Seconds. A timer that fires this late shows that the loop was busy or the process was stopped:
# what looks like a silent peer may be an answer that waits to be read.
LATE = 0.05


class AwakeLimit:
    """Cancels what its `with` block awaits after *seconds*; `expired` tells if it did.

    If the event loop stood still meanwhile, the block gets its time once more, and `stood_still` is
    at least how long that was. It also gets it again for as long as *goes_on* returns True, which
    is called each time.
    """

    def __init__(self, seconds: float, goes_on: Callable[[], bool] | None = None) -> None:
        self.expired = False
        self.stood_still = 0.0
        self._seconds = seconds
        self._goes_on = goes_on
        self._scope = anyio.CancelScope()

    def __enter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._start()
        self._scope.__enter__()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        self._timer.cancel()
        return bool(self._scope.__exit__(exc_type, exc, traceback))

    def _start(self) -> None:
        self._due = self._loop.time() + self._seconds
        self._timer = self._loop.call_at(self._due, self._expire)

    def _expire(self) -> None:
        late = self._loop.time() - self._due
        if late > LATE and not self.stood_still:
            self.stood_still = late
            self._start()
            return
        if self._goes_on is not None and self._goes_on():
            self._start()
            return
        self.expired = True
        self._scope.cancel()


@contextmanager
def fail_after(seconds: float, goes_on: Callable[[], bool] | None = None) -> Iterator[None]:
    """Raise `TimeoutError` if the block takes longer than an `AwakeLimit` of *seconds*."""
    done = False
    with AwakeLimit(seconds, goes_on) as limit:
        yield
        done = True
    if limit.expired and not done:
        raise TimeoutError(f"no answer within {seconds:g} s")
