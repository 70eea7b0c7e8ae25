"""Shared work, waiting for a condition, calls of a user's code, and calls in daemon threads."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from pgmoor._core.util import asynctools
from pgmoor._core.util.asynctools import (
    CallFailed,
    Notifier,
    SingleFlight,
    being_cancelled,
    call_within,
    in_daemon_thread,
    value_of,
)


class Work:
    """Counts its runs, and returns the count when the test lets it."""

    def __init__(self) -> None:
        self.runs = 0
        self.ready = asyncio.Event()
        self.error: Exception | None = None

    async def __call__(self) -> int:
        self.runs += 1
        await self.ready.wait()
        if self.error is not None:
            raise self.error
        return self.runs


@pytest.fixture
def work() -> Work:
    return Work()


@pytest.fixture
def flight(work: Work) -> SingleFlight[int]:
    return SingleFlight(work, "work")


# -- SingleFlight -------------------------------------------------------------------------------


async def test_callers_share_one_run_and_its_result_until_one_wants_a_fresh_one(
    work: Work, flight: SingleFlight[int]
) -> None:
    tasks = [asyncio.create_task(flight.get()) for _ in range(5)]
    await asyncio.sleep(0)
    work.ready.set()

    assert await asyncio.gather(*tasks) == [1] * 5
    assert await flight.get() == 1
    assert await flight.get(fresh=True) == 2


async def test_a_result_is_not_kept_for_ever(
    work: Work, flight: SingleFlight[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asynctools, "KEPT_FOR", -1.0)
    work.ready.set()

    assert [await flight.get() for _ in range(3)] == [1, 2, 3]


async def test_when_a_caller_gives_up_the_run_goes_on_for_the_next(
    work: Work, flight: SingleFlight[int]
) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await flight.get()
    work.ready.set()

    assert await flight.get() == 1


@pytest.mark.parametrize("succeeded_before", [False, True])
async def test_a_failure_is_not_kept(
    work: Work, flight: SingleFlight[int], succeeded_before: bool
) -> None:
    work.ready.set()
    if succeeded_before:
        await flight.get()
    work.error = OSError("no")
    with pytest.raises(OSError, match="no"):
        await flight.get(fresh=True)
    work.error = None

    assert await flight.get() == 2 + succeeded_before


async def test_asyncio_does_not_report_a_failure_that_nobody_waited_for(work: Work) -> None:
    reported: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context))
    work.error = OSError("no")
    flight = SingleFlight(work, "work")
    caller = asyncio.create_task(flight.get())
    await asyncio.sleep(0)
    caller.cancel()
    work.ready.set()
    await asyncio.wait([caller])
    for _ in range(3):
        await asyncio.sleep(0)
    del flight, caller

    assert reported == []


async def test_a_run_can_be_cancelled(flight: SingleFlight[int]) -> None:
    flight.cancel()  # without a run there is nothing to do
    caller = asyncio.create_task(flight.get())
    await asyncio.sleep(0)
    flight.cancel()

    with pytest.raises(asyncio.CancelledError):
        await caller


# -- Notifier -----------------------------------------------------------------------------------


async def test_a_notifier_wakes_those_whose_condition_holds() -> None:
    notifier, reached = Notifier(), 0
    tasks = [
        asyncio.create_task(notifier.until(lambda least=least: reached >= least))  # type: ignore[misc]
        for least in (0, 1, 2)
    ]
    await asyncio.sleep(0)
    woken = []
    for reached in range(3):  # noqa: B007  the conditions read it
        notifier.notify()
        for _ in range(2):
            await asyncio.sleep(0)
        woken.append([task.done() for task in tasks])

    assert woken == [[True, False, False], [True, True, False], [True, True, True]]


async def test_a_notifier_forgets_a_waiter_that_was_cancelled() -> None:
    notifier = Notifier()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await notifier.until(lambda: False)
    notifier.notify()

    assert not notifier._waiting


# -- calls of a user's code ---------------------------------------------------------------------


async def test_only_a_task_that_is_cancelled_itself_is_being_cancelled() -> None:
    seen: list[bool] = []

    async def awaits(other: asyncio.Future[None]) -> None:
        try:
            await other
        except asyncio.CancelledError:
            seen.append(being_cancelled())

    for cancel_the_task in (True, False):
        other = asyncio.get_running_loop().create_future()
        task = asyncio.create_task(awaits(other))
        await asyncio.sleep(0)
        (task if cancel_the_task else other).cancel()
        await task

    assert seen == [True, False]


async def hangs() -> str:
    await asyncio.Event().wait()
    return ""


def raises(error: BaseException) -> Any:
    async def call() -> str:
        raise error

    return call


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (hangs, "the callable for hosts returned nothing within 0.01 s"),
        (raises(OSError("secret")), "the callable for hosts raised OSError"),
        (raises(asyncio.CancelledError()), "the callable for hosts was cancelled"),
        (raises(BaseException("secret")), "the callable for hosts raised BaseException"),
        (raises(LookupError("no hosts")), "no hosts"),
    ],
    ids=["late", "an error", "cancelled", "a BaseException", "one that may be quoted"],
)
async def test_a_call_that_returns_nothing_in_time_is_one_kind_of_error(
    call: Any, words: str
) -> None:
    with pytest.raises(CallFailed) as caught:
        await call_within(0.01, call, "hosts", show=LookupError)

    assert str(caught.value) == words


async def test_a_call_passes_on_its_result_and_the_cancellation_of_its_caller() -> None:
    async def returns() -> int:
        return 7

    assert await call_within(1, returns, "hosts", show=LookupError) == 7
    caller = asyncio.create_task(call_within(60, hangs, "hosts", show=LookupError))
    await asyncio.sleep(0)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller


async def test_the_value_of_a_function_and_of_a_coroutine_function_is_the_same() -> None:
    async def doubled(number: int) -> int:
        return 2 * number

    assert await value_of(doubled, 4) == await value_of(lambda number: 2 * number, 4) == 8


# -- daemon threads -----------------------------------------------------------------------------


async def test_a_call_in_a_daemon_thread_returns_or_raises_what_the_function_does() -> None:
    def fail() -> None:
        raise LookupError("no")

    name = in_daemon_thread(lambda: threading.current_thread().name, "pgmoor-x")

    assert await name.result() == "pgmoor-x"
    assert name.thread.daemon
    with pytest.raises(LookupError, match="no"):
        await in_daemon_thread(fail, "pgmoor-x").result()


async def test_a_caller_can_leave_a_call_that_hangs_in_its_thread() -> None:
    release = threading.Event()
    call = in_daemon_thread(release.wait, "pgmoor-x")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await call.result()
    release.set()
    call.thread.join(5)

    assert not call.thread.is_alive()


def test_a_thread_that_ends_after_its_loop_was_closed_ends_quietly() -> None:
    release = threading.Event()

    async def start() -> threading.Thread:
        return in_daemon_thread(release.wait, "pgmoor-x").thread

    thread = asyncio.run(start())
    release.set()
    thread.join(5)  # pytest fails the test for what a thread raises

    assert not thread.is_alive()
