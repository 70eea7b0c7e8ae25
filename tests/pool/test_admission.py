"""psycopg_pool's account of the connections agrees with ours, whatever happens on the way."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import pytest
from psycopg import AsyncConnection

from pgmoor._core.pool.psycopg_adapter import InnerPool
from pgmoor._core.pool.tasks import PoolTasks
from stub_pool import SteppedLoop, StubConnection, World

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pgmoor._core.pool.host_pool import HostPool


@pytest.fixture
def loop() -> Iterator[SteppedLoop]:
    made = SteppedLoop()
    yield made
    made.end()


@pytest.mark.parametrize("cancelled", [0, 1, 2])
@pytest.mark.parametrize("turns", range(1, 14))
def test_a_cancelled_admission_costs_no_other_dial_its_connection(
    loop: SteppedLoop, turns: int, cancelled: int
) -> None:
    world = loop.call(World)
    inner = loop.call(lambda: InnerPool("inner"))
    loop.create_task(inner.open())
    loop.settle()
    connections = [StubConnection(world) for _ in range(3)]
    dials = [loop.create_task(inner.admit(conn)) for conn in connections]
    for _ in range(turns):
        loop.turn()
    dials[cancelled].cancel()
    loop.settle()
    # Another one that comes later must not get what the cancelled one has left.
    dials.append(loop.create_task(inner.admit(StubConnection(world))))
    loop.settle()

    lent = [dial.result() for dial in dials if not dial.cancelled()]
    assert len(set(lent)) == len(lent) >= 3
    assert all(conn.unfinished for conn in lent)
    assert {conn for conn in world.connections if conn.unfinished} == set(lent)
    assert inner.size == len(lent)


class ClosesByReturning(AsyncConnection[Any]):
    """A user's class, as some are written for psycopg_pool."""

    async def close(self) -> None:
        await self._pool.putconn(self)  # type: ignore[union-attr]


class StubOfAClass(StubConnection, ClosesByReturning):
    """As `managed()` derives one."""


@pytest.fixture
def pool(loop: SteppedLoop) -> Iterator[HostPool]:
    """A pool of two connections of a class that closes by returning."""
    world = loop.call(lambda: World(min_size=2, max_size=2, close_timeout=1))
    made: HostPool = loop.call(lambda: world.make_pool(0))
    loop.create_task(made.open())
    loop.settle()
    loop.call(lambda: world.queue.serve_from(made))
    yield made
    if made.retired_because is None:
        loop.call(lambda: made.retire("the test is over", abort=True))


def fill(loop: SteppedLoop, pool: HostPool) -> None:
    world = pool.dialler.world  # type: ignore[attr-defined]
    while world.dials:
        for dial in world.dials:
            dial.set_result(True)
        loop.settle()
    for conn in world.connections:
        if type(conn) is StubConnection:
            conn.__class__ = StubOfAClass


def test_a_connection_that_is_closed_once_more_is_not_counted_twice(
    loop: SteppedLoop, pool: HostPool
) -> None:
    fill(loop, pool)

    async def use() -> None:
        queue: Any = pool.lender
        async with queue.checkout(5) as conn:
            conn.discard()
        await asyncio.sleep(0)
        for _ in range(5):
            await conn.close()
            await asyncio.sleep(0)

    used = loop.create_task(use())
    loop.settle()
    used.result()
    fill(loop, pool)

    assert pool.size == pool.inner.size == 2


def test_a_class_that_closes_by_returning_is_dismissed_when_the_host_was_left(
    loop: SteppedLoop, pool: HostPool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    fill(loop, pool)
    queue: Any = pool.lender
    held = loop.create_task(queue.acquire(5))
    loop.settle()
    loop.call(lambda: pool.retire("the test is over", abort=False))
    loop.advance(1)
    returned = loop.create_task(queue.release(held.result()))
    loop.settle()

    assert returned.done()
    assert pool.size == 0
    assert [record.message for record in caplog.records if record.levelno >= logging.ERROR] == []


def test_the_end_of_a_pool_waits_for_tasks_that_its_tasks_leave_behind(loop: SteppedLoop) -> None:
    tasks = PoolTasks("manager", "host")
    done: list[str] = []

    async def second() -> None:
        await asyncio.sleep(0.5)
        done.append("second")

    async def first() -> None:
        await asyncio.sleep(0.1)
        tasks.spawn(second(), "second")

    loop.call(lambda: tasks.spawn(first(), "first"))

    async def close() -> bool:
        await tasks.aclose(5)
        return bool(tasks)

    closing = loop.create_task(close())
    loop.advance(5)

    assert closing.result() is False
    assert done == ["second"]
