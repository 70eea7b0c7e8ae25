"""Helpers for asyncio that know no database: shared work, waiting, threads, cancellation."""

from __future__ import annotations

import asyncio
import inspect
import sys
import threading
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from .awake_limit import fail_after

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator
    from contextvars import Context

T = TypeVar("T")


def spawn(
    work: Coroutine[Any, Any, T], name: str, context: Context | None = None
) -> asyncio.Task[T]:
    """Start a task that begins in a later turn of the loop, in a copy of *context*.

    `asyncio.create_task()` may begin it at once where the program has set an eager task factory
    (Python 3.12): inside whoever starts it, and perhaps to its end. Without *context* it is that of
    the caller; a task that serves many callers must not have the context variables of the first.
    """
    loop = asyncio.get_running_loop()
    own = context.copy() if context is not None else None
    if sys.version_info >= (3, 12):
        return asyncio.Task(work, loop=loop, name=name, context=own, eager_start=False)
    return asyncio.Task(work, loop=loop, name=name, context=own)


# Seconds. While hosts are probed in a burst, a name server or a source of passwords is asked for
# each host once a second, and not once for each dial.
KEPT_FOR = 1.0


class SingleFlight(Generic[T]):
    """Runs one piece of work at a time, shares its result, and keeps it for a second."""

    def __init__(self, work: Callable[[], Coroutine[None, None, T]], name: str) -> None:
        self._work = work
        self._name = name
        self._task: asyncio.Task[T] | None = None
        self._fresh_until = float("-inf")

    async def get(self, *, fresh: bool = False) -> T:
        """Return the result, or raise what the work raised; with *fresh* never a kept result.

        When a caller is cancelled, the work goes on for those who ask next.
        """
        task = self._task
        if task is None or (task.done() and (fresh or monotonic() > self._fresh_until)):
            task = self._task = spawn(self._run(), self._name)
            task.add_done_callback(_retrieve)
        return await asyncio.shield(task)

    async def _run(self) -> T:
        self._fresh_until = float("-inf")  # a failure is not kept
        result = await self._work()
        self._fresh_until = monotonic() + KEPT_FOR
        return result

    def cancel(self) -> None:
        """Cancel the work that is under way, if any."""
        if self._task is not None:
            self._task.cancel()


def _retrieve(task: asyncio.Task[T]) -> None:
    """Retrieve the outcome, so that asyncio does not log one that nobody waited for."""
    if not task.cancelled():
        task.exception()


async def wait_for_end(task: asyncio.Task[Any]) -> None:
    """Wait until *task* has ended; raise what it raised, and nothing if it was cancelled.

    It goes on when the caller is cancelled.
    """
    if not task.done():
        await asyncio.wait([task])
    if not task.cancelled():
        task.result()


class Notifier:
    """Wakes tasks that wait for a condition; `asyncio.Condition` without the lock.

    All calls come from one thread.
    """

    def __init__(self) -> None:
        self._waiting: set[asyncio.Future[None]] = set()

    def notify(self) -> None:
        """Have all who wait check their conditions again."""
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_result(None)
        self._waiting.clear()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until *condition* holds."""
        while not condition():
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.add(waiter)
            try:
                await waiter
            finally:
                self._waiting.discard(waiter)


def tasks_that_await(task: asyncio.Task[Any]) -> set[asyncio.Task[Any]]:
    """Return the tasks that wait for *task* now, directly or through other tasks.

    That is by `await`, `asyncio.wait()`, `shield()`, `gather()` or `wait_for()`, or at the end of
    a task group of asyncio or anyio. asyncio has no public way to ask before Python 3.14, so this
    reads `_callbacks` of futures, `_fut_waiter` of tasks and `_on_completed_fut` of task groups.
    Where these are not what they are in Python 3.11 to 3.13, a task that waits is not found.
    """
    found: set[asyncio.Task[Any]] = set()
    seen: set[asyncio.Future[Any]] = {task}
    pending: list[asyncio.Future[Any]] = [task]
    with suppress(AttributeError, TypeError, ValueError):
        while pending:
            future = pending.pop()
            for callback, _ in getattr(future, "_callbacks", None) or ():
                for other in _futures_held_by(callback):
                    if isinstance(other, asyncio.Task):
                        if other._fut_waiter is not future:  # type: ignore[attr-defined] # noqa: SLF001  see above
                            continue  # it is only told
                        found.add(other)
                    if other not in seen:
                        seen.add(other)
                        pending.append(other)
    return found


def _futures_held_by(callback: Any) -> Iterator[asyncio.Future[Any]]:
    """Yield the futures that a callback of a future may set, and the task that it may wake."""
    held = [getattr(callback, "__self__", None), *getattr(callback, "args", ())]
    cells = getattr(callback, "__closure__", None) or ()
    held += [cell.cell_contents for cell in cells]
    for thing in held:
        for future in (thing, getattr(thing, "_on_completed_fut", None)):
            if isinstance(future, asyncio.Future):
                yield future


def being_cancelled() -> bool:
    """Return whether the current task itself is being cancelled.

    A user's callable that awaits a cancelled task raises `CancelledError`, too. That is an error
    like any other, and must not end the task that called it.
    """
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0


class CallFailed(Exception):  # noqa: N818  the fault is not the program's
    """A user's callable returned nothing usable in time; the text says why and quotes nothing."""


async def call_within(
    seconds: float, call: Callable[[], Coroutine[Any, Any, T]], what: str, *, show: type[Exception]
) -> T:
    """Return what a user's callable returns; raise `CallFailed` if it raises or takes too long.

    *what* names the callable in the error. Of its exceptions only the texts of *show* are quoted:
    any other may hold what the callable was to return.
    """
    try:
        with fail_after(seconds):  # it cancels again where one cancellation is swallowed
            return await call()
    except asyncio.CancelledError:
        if being_cancelled():
            raise
        problem = "was cancelled"
    except TimeoutError:
        problem = f"returned nothing within {seconds:g} s"
    except show as error:
        raise CallFailed(str(error)) from None
    except (KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except BaseException as error:  # noqa: BLE001  the callable is the user's
        problem = f"raised {type(error).__name__}"
    raise CallFailed(f"the callable for {what} {problem}")


async def value_of(call: Callable[..., Any], *args: Any) -> Any:
    """Return what a function or a coroutine function returns for *args*."""
    value = call(*args)
    return await value if inspect.isawaitable(value) else value


class DaemonCall(Generic[T]):
    """A blocking call in a daemon thread of its own; see `in_daemon_thread()`."""

    def __init__(self, thread: threading.Thread, outcome: asyncio.Future[T]) -> None:
        self.thread = thread
        self._outcome = outcome

    async def result(self) -> T:
        """Wait for the call; return what it returned, or raise what it raised."""
        return await self._outcome


def in_daemon_thread(work: Callable[[], T], name: str) -> DaemonCall[T]:
    """Start *work* in a daemon thread named *name*.

    The loop's executor would not do: a call that hangs there keeps other users of the executor
    waiting, and the interpreter from exiting. Raises `RuntimeError` when no thread can be started.
    """
    loop = asyncio.get_running_loop()
    outcome: asyncio.Future[T] = loop.create_future()

    def finish(result: T | None, error: BaseException | None) -> None:
        if outcome.done():
            return
        if error is not None:
            outcome.set_exception(error)
            outcome.exception()  # the caller may have gone away
        else:
            outcome.set_result(cast("T", result))

    def run() -> None:
        result: T | None = None
        error: BaseException | None = None
        try:
            result = work()
        except BaseException as raised:  # noqa: BLE001  it is raised in the caller's task
            error = raised
        with suppress(RuntimeError):  # the loop may be closed by now
            loop.call_soon_threadsafe(finish, result, error)

    thread = threading.Thread(target=run, name=name, daemon=True)
    thread.start()
    return DaemonCall(thread, outcome)
