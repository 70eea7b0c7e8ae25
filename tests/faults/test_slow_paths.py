"""A path or a program that is slow: what takes long and goes on is no silence."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import pytest

from pgmoor import events as ev
from support import both_loops, recorder, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgmoor.testing import Cluster

QUICK = {"health_interval": 0.1, "health_timeout": 0.25, "min_size": 1, "timeout": 10}


@both_loops
async def test_a_path_that_became_slow_is_no_outage(
    alone: Cluster, moor: Callable[..., Any], proxies: Callable[..., Any]
) -> None:
    """A login takes several round trips, and more time than a health check may."""
    (door,) = proxies(alone)
    manager = await moor(door, **QUICK)
    await manager.wait()
    door.delay(0.1)  # each way
    door.reset()  # the sessions are lost once
    came = len(recorder(manager).events)

    async with manager.connection() as conn:
        await conn.execute("select 1")
    await until(lambda: manager.snapshot().hosts[0].status == "up")
    later = recorder(manager).events[came:]

    assert not [event for event in later if isinstance(event, ev.Stalled)], later
    downs = [event for event in later if isinstance(event, ev.HostDown)]
    assert all(event.status == "down" for event in downs), downs  # by the reset


async def test_a_slower_path_than_a_health_check_may_take_is_learnt(
    alone: Cluster, moor: Callable[..., Any], proxies: Callable[..., Any]
) -> None:
    (door,) = proxies(alone)
    manager = await moor(door, **QUICK)
    await manager.wait()
    door.delay(0.2)  # a round trip takes 0.4 s
    door.reset()

    async with manager.connection(timeout=20) as conn:
        await conn.execute("select 1")
        table = manager._runtime.live.evidence.table
        answers = set()

        def three_more() -> bool:
            answers.add(table[0].answered_at)
            return len(answers) > 3

        await until(three_more)
        misses = set()

        def three_more_without_a_miss() -> bool:
            misses.add(table[0].misses)
            answers.add(table[0].answered_at)
            return len(answers) > 6

        await until(three_more_without_a_miss)

    assert misses == {0}


@pytest.mark.thorough
@both_loops
async def test_turns_of_the_event_loop_that_take_long_are_no_silence(
    alone: Cluster, moor: Callable[..., Any]
) -> None:
    """Each step of a login takes a turn."""
    manager = await moor(*alone, **QUICK)
    await manager.wait()
    busy = True

    async def block() -> None:
        while busy:
            time.sleep(0.12)  # noqa: ASYNC251  as a busy program does
            await asyncio.sleep(0)

    blocking = asyncio.create_task(block())
    await alone[0].stop()
    await alone[0].start()
    came = len(recorder(manager).events)
    async with manager.connection(timeout=20) as conn:
        await conn.execute("select 1")
    later = recorder(manager).events[came:]
    busy = False
    await blocking

    silent = [event for event in later if isinstance(event, ev.Stalled)]
    assert not silent, later
    assert not [event for event in later if getattr(event, "status", "") == "silent"], later
