"""While the host in use is asked whether it still takes writes, callers wait."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from psycopg import errors

from pgmoor import NoHostAvailable
from stub_pool import SteppedLoop, World

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pgmoor.testing import Cluster

WHY = "a.invalid refused a write and is asked why"


@pytest.fixture
def loop() -> Iterator[SteppedLoop]:
    made = SteppedLoop()
    yield made
    made.end()


@pytest.fixture
def world(loop: SteppedLoop) -> World:
    """Two idle connections of the host in use."""
    made: World = loop.call(lambda: World(min_size=2, max_size=2))
    pool = loop.call(lambda: made.make_pool(0))
    loop.create_task(pool.open())
    loop.settle()
    for dial in made.diallers[0].dials.copy():
        dial.set_result(True)
    loop.settle()
    loop.call(lambda: made.queue.serve_from(pool))
    return made


@pytest.mark.parametrize("how", ["answered", "time is up", "another host"])
def test_in_a_pause_callers_wait_until_it_ends(loop: SteppedLoop, world: World, how: str) -> None:
    held = loop.create_task(world.queue.acquire(5))
    loop.settle()
    loop.call(lambda: world.queue.pause(0.1, WHY))
    callers = [loop.create_task(world.queue.acquire(5)) for _ in range(2)]
    loop.create_task(world.queue.release(held.result()))  # what comes back is not lent either
    loop.settle()
    assert not any(caller.done() for caller in callers)
    assert world.queue.figures().idle == 2

    if how == "answered":
        loop.call(world.queue.resume)
    elif how == "time is up":
        loop.advance(0.11)
    else:
        loop.call(lambda: world.queue.serve_from(world.queue.pool))
    loop.settle()

    assert all(caller.done() for caller in callers)
    assert not world.diallers[0].dials  # nobody dialled for them
    loop.advance(0.2)  # its timer ends no later pause


def test_a_pause_is_not_prolonged_by_another_one(loop: SteppedLoop, world: World) -> None:
    loop.call(lambda: world.queue.pause(0.1, WHY))
    loop.advance(0.05)
    loop.call(lambda: world.queue.pause(0.1, WHY))
    caller = loop.create_task(world.queue.acquire(5))
    loop.advance(0.06)
    loop.settle()

    assert caller.done()


def test_who_waits_no_longer_than_a_pause_learns_of_it(loop: SteppedLoop, world: World) -> None:
    loop.call(lambda: world.queue.pause(0.1, WHY))
    caller = loop.create_task(world.queue.acquire(0.05))
    loop.advance(0.06)
    loop.settle()

    assert isinstance(caller.exception(), NoHostAvailable)
    assert WHY in str(caller.exception())


async def test_a_write_in_a_read_only_transaction_holds_callers_up_for_one_answer(
    alone: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(alone[0], target="primary", health_interval=10)
    pauses: list[float] = []
    queue = manager._runtime.queue
    pause = queue.pause

    def counted(seconds: float, because: str) -> None:
        pauses.append(seconds)
        pause(seconds, because)

    queue.pause = counted

    async def write() -> None:
        with pytest.raises(errors.ReadOnlySqlTransaction):
            async with manager.connection() as conn:
                await conn.execute("set transaction read only")
                await conn.execute("create table forbidden (id int)")

    for _ in range(20):  # the program's own mistake, again and again
        await asyncio.gather(write(), write(), write())
        async with manager.connection(timeout=1) as conn:
            await conn.execute("select 1")

    assert 1 <= len(pauses) <= 2  # the first answer proves the doubt wrong, and others wait
