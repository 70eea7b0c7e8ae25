"""Which tasks wait for a task, in each of the ways that there are."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from pgmoor._core.util.asynctools import tasks_that_await
from support import both_loops

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    Way = Callable[["Work"], Coroutine[Any, Any, Any]]


class Work:
    """A coroutine that runs in a task of its own, until the test ends it."""

    def __init__(self) -> None:
        self.task: asyncio.Task[None] | None = None
        self.begun = asyncio.Event()
        self.end = asyncio.Event()

    async def __call__(self) -> None:
        self.task = asyncio.current_task()
        self.begun.set()
        await self.end.wait()


async def by_await(work: Work) -> None:
    await asyncio.create_task(work())


async def by_wait(work: Work) -> None:
    await asyncio.wait([asyncio.create_task(work())], timeout=60)


async def by_wait_for(work: Work) -> None:
    await asyncio.wait_for(asyncio.create_task(work()), 60)


async def by_shield(work: Work) -> None:
    await asyncio.shield(work())


async def by_gather(work: Work) -> None:
    await asyncio.gather(asyncio.sleep(0), work())


async def by_gather_in_gather(work: Work) -> None:
    await asyncio.gather(asyncio.gather(work()), asyncio.sleep(0))


async def by_task_group(work: Work) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(work())
        group.create_task(asyncio.sleep(0))


async def by_task_group_of_anyio(work: Work) -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(work)
        group.start_soon(asyncio.sleep, 0)


async def by_wait_for_in_a_task_group(work: Work) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(asyncio.wait_for(work(), 60))


async def through_three_tasks(work: Work) -> None:
    await asyncio.create_task(by_task_group_of_anyio(work))


WAYS: list[Way] = [
    by_await,
    by_wait,
    by_wait_for,
    by_shield,
    by_gather,
    by_gather_in_gather,
    by_task_group,
    by_task_group_of_anyio,
    by_wait_for_in_a_task_group,
    through_three_tasks,
]


async def turns() -> None:
    """Let every task come to where it waits."""
    for _ in range(10):
        await asyncio.sleep(0)


@both_loops
@pytest.mark.parametrize("way", WAYS)
async def test_a_task_that_waits_is_found_until_it_is_cancelled_or_done(way: Way) -> None:
    work = Work()
    waits = asyncio.create_task(way(work))
    other = asyncio.create_task(work.end.wait())
    await work.begun.wait()
    await turns()
    assert work.task is not None

    found = tasks_that_await(work.task)
    assert waits in found
    assert other not in found
    assert asyncio.current_task() not in found

    work.end.set()
    await waits
    assert tasks_that_await(work.task) == set()


@both_loops
async def test_tasks_that_are_only_told_of_the_end_do_not_wait_for_it() -> None:
    work = Work()
    task = asyncio.create_task(work())
    told = asyncio.create_task(asyncio.sleep(60))
    task.add_done_callback(told.cancel)
    task.add_done_callback(lambda _: told.cancel())
    await turns()

    assert tasks_that_await(task) == set()
    work.end.set()
    await task
    with pytest.raises(asyncio.CancelledError):
        await told


@both_loops
async def test_the_owner_of_a_task_group_waits_only_at_its_end() -> None:
    for make in (asyncio.TaskGroup, anyio.create_task_group):
        work, body = Work(), asyncio.Event()

        async def own(make: Any = make, work: Work = work, body: asyncio.Event = body) -> None:
            async with make() as group:
                start = getattr(group, "start_soon", None) or (lambda w: group.create_task(w()))
                start(work)
                await body.wait()

        owner = asyncio.create_task(own())
        await work.begun.wait()
        await turns()
        assert work.task is not None
        assert tasks_that_await(work.task) == set()

        body.set()
        await turns()
        assert tasks_that_await(work.task) == {owner}
        work.end.set()
        await owner


async def test_a_waiting_task_that_is_cancelled_waits_no_longer() -> None:
    work = Work()
    task = asyncio.create_task(work())
    waits = asyncio.create_task(by_shielded(task))
    await turns()
    assert tasks_that_await(task) == {waits}
    waits.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waits

    assert tasks_that_await(task) == set()
    work.end.set()
    await task


async def by_shielded(task: asyncio.Task[None]) -> None:
    await asyncio.shield(task)


async def test_two_tasks_that_wait_for_each_other_are_no_endless_loop() -> None:
    tasks: list[asyncio.Task[None]] = []

    async def wait_for_the_other(index: int) -> None:
        await asyncio.wait([tasks[1 - index]])

    tasks += [asyncio.create_task(wait_for_the_other(index)) for index in range(2)]
    await turns()

    assert tasks_that_await(tasks[0]) == set(tasks)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


def test_a_future_of_an_unknown_make_has_no_tasks_that_wait() -> None:
    class Odd:
        _callbacks = (print, None)

    odd: Any = Odd()
    assert tasks_that_await(odd) == set()
