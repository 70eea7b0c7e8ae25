"""Each caller who waits has a deadline of its own, and all share one timer."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING, Any

import pytest

from pgmoor import ConnectionManager, PoolExhausted
from pgmoor._core.pool.waiters import SLACK, WaiterQueue

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pgmoor._core.pool.waiters import Waiter
    from pgmoor.testing import Cluster


@pytest.fixture
def expired() -> list[float]:
    """The timeouts of the waiters that have expired, in order."""
    return []


@pytest.fixture
def queue(expired: list[float]) -> Iterator[WaiterQueue]:
    def expire(waiter: Waiter, timeout: float) -> None:
        expired.append(timeout)
        waiter.cancel()

    queue = WaiterQueue(expire)
    yield queue
    queue.fail_all(RuntimeError)


async def test_shorter_waits_end_first_whenever_they_began(
    queue: WaiterQueue, expired: list[float]
) -> None:
    now = monotonic()
    timeouts = (0.2, 0.02, 0.1, 0.02, 0.0)
    waiters = [queue.add(queue.arrive(), now + timeout, timeout) for timeout in timeouts]
    await asyncio.wait(waiters, timeout=10)
    assert expired == [0.0, 0.02, 0.02, 0.1, 0.2]


async def test_a_caller_with_a_short_timeout_is_not_late_behind_patient_ones(
    alone: Cluster,
) -> None:
    manager = ConnectionManager(alone.conninfo(), min_size=1, max_size=1)
    async with manager, manager.connection():
        patient = [asyncio.create_task(manager.getconn(timeout=600)) for _ in range(3)]
        await asyncio.sleep(0)
        with pytest.raises(PoolExhausted, match=r"0\.05"):
            await asyncio.wait_for(manager.getconn(timeout=0.05), 10)
        for task in patient:
            task.cancel()
        await asyncio.wait(patient)


async def test_a_thousand_who_wait_use_one_timer(
    queue: WaiterQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    timers: list[asyncio.TimerHandle] = []
    loop = asyncio.get_running_loop()
    call_at = loop.call_at

    def counted(*args: Any, **kwargs: Any) -> asyncio.TimerHandle:
        timers.append(call_at(*args, **kwargs))
        return timers[-1]

    monkeypatch.setattr(loop, "call_at", counted)
    now = monotonic()
    for number in range(1000):
        queue.add(queue.arrive(), now + 60 + number, 60)
    assert len(timers) == 1
    queue.fail_all(RuntimeError)
    assert timers[0].cancelled()


async def test_callers_who_have_left_are_forgotten_before_their_deadlines(
    queue: WaiterQueue,
) -> None:
    stays = queue.add(queue.arrive(), monotonic() + 60, 60)
    for _ in range(1000):
        queue.remove(queue.add(queue.arrive(), monotonic() + 60, 60))
    assert not stays.done()
    assert len(queue._deadlines) <= 2 * (len(queue) + 1) + SLACK + 1


@pytest.mark.parametrize("timeout", [float("inf"), float("nan"), 1e300])
async def test_a_timeout_without_end_ends_no_other_wait(
    timeout: float, queue: WaiterQueue, expired: list[float]
) -> None:
    endless = queue.add(queue.arrive(), monotonic() + timeout, timeout)
    short = queue.add(queue.arrive(), monotonic() + 0.01, 0.01)
    await asyncio.wait([short], timeout=10)
    assert expired == [0.01]
    assert not endless.done()
