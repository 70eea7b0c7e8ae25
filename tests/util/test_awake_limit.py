"""Limits that do not count the time in which the event loop stood still."""

from __future__ import annotations

import asyncio
import time

import pytest

from pgmoor._core.util.awake_limit import LATE, AwakeLimit, fail_after

BLOCK = 4 * LATE


async def test_a_wait_that_takes_too_long_is_ended() -> None:
    with AwakeLimit(0.01) as limit:
        await asyncio.Event().wait()
    assert (limit.expired, limit.stood_still) == (True, 0.0)

    with pytest.raises(TimeoutError), fail_after(0.01):
        await asyncio.Event().wait()


async def test_a_wait_gets_its_time_again_once_if_the_loop_stood_still() -> None:
    ready = asyncio.Event()
    loop = asyncio.get_running_loop()
    with AwakeLimit(0.02) as limit:
        loop.call_soon(time.sleep, BLOCK)
        await asyncio.sleep(0)
        loop.call_soon(lambda: loop.call_soon(ready.set))  # what takes some turns of the loop
        await ready.wait()
    assert not limit.expired

    with AwakeLimit(0.02) as limit:
        loop.call_soon(time.sleep, BLOCK)
        await asyncio.Event().wait()

    assert limit.expired
    assert limit.stood_still >= BLOCK - 0.02 - 0.001


async def test_what_ends_in_the_turn_in_which_the_time_is_up_is_no_failure() -> None:
    with fail_after(0.01):
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            result = "made it"

    assert result == "made it"


async def test_another_cancellation_goes_through() -> None:
    async def work() -> None:
        with fail_after(60):
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task
