"""While the host in use is asked whether it still takes writes, callers wait."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING, Any

import pytest
from psycopg import errors

from pgmoor import NoHostAvailable, PoolExhausted, TooManyRequests
from pgmoor._core.pool.lending_pause import LONGEST
from pgmoor.testing import Cluster, FaultProxy
from stub_pool import SteppedLoop, World
from support import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from stub_pool import StubDialler

WHY = "a.invalid refused a write and is asked why"


@pytest.fixture
def loop() -> Iterator[SteppedLoop]:
    made = SteppedLoop()
    yield made
    made.end()


def arrive(loop: SteppedLoop, dialler: StubDialler) -> None:
    """Let all dials succeed."""
    while dialler.dials:
        for dial in dialler.dials.copy():
            dial.set_result(True)
        loop.settle()


def serving(loop: SteppedLoop, **settings: Any) -> World:
    """Serve from a pool that holds `min_size` connections."""
    world: World = loop.call(lambda: World(**settings))
    pool = loop.call(lambda: world.make_pool(0))
    loop.create_task(pool.open())
    loop.settle()
    arrive(loop, world.diallers[0])
    loop.call(lambda: world.queue.serve_from(pool))
    return world


@pytest.fixture
def world(loop: SteppedLoop) -> World:
    """Two idle connections of the host in use."""
    return serving(loop, min_size=2, max_size=2)


def caller(loop: SteppedLoop, world: World, timeout: float = 5) -> asyncio.Task[Any]:
    task = loop.create_task(world.queue.acquire(timeout))
    loop.settle()
    return task


def pause(loop: SteppedLoop, world: World) -> float:
    """Begin a pause; return when (monotonic)."""
    loop.call(lambda: world.queue.pause(WHY))
    return monotonic()


@pytest.mark.parametrize("how", ["answered", "time is up", "another host"])
def test_in_a_pause_callers_wait_until_it_ends(loop: SteppedLoop, world: World, how: str) -> None:
    asked_before = monotonic()
    held = caller(loop, world).result()
    began = pause(loop, world)
    callers = [caller(loop, world) for _ in range(2)]
    loop.create_task(world.queue.release(held))  # what comes back is not lent either
    loop.call(lambda: world.queue.answered(asked_before))  # that was asked too early
    loop.settle()
    assert not any(task.done() for task in callers)
    assert world.queue.figures().idle == 2

    if how == "answered":
        loop.call(lambda: world.queue.answered(began))
    elif how == "time is up":
        loop.advance(LONGEST)
    else:
        loop.call(lambda: world.queue.serve_from(world.queue.pool))
    loop.settle()

    assert all(task.done() for task in callers)
    loop.advance(LONGEST)  # its timer ends no later pause
    assert world.queue.figures().used == 2


def test_a_pause_is_not_prolonged_by_another_one(loop: SteppedLoop, world: World) -> None:
    pause(loop, world)
    loop.advance(LONGEST / 2)
    pause(loop, world)
    task = caller(loop, world)
    loop.advance(0.6 * LONGEST)
    loop.settle()

    assert task.done()


def test_who_waits_no_longer_than_a_pause_learns_of_it(loop: SteppedLoop, world: World) -> None:
    pause(loop, world)
    task = caller(loop, world, LONGEST / 2)
    loop.advance(0.6 * LONGEST)
    loop.settle()

    assert isinstance(task.exception(), NoHostAvailable)
    assert WHY in str(task.exception())


SIZES = pytest.mark.parametrize(
    "settings",
    [
        {"min_size": 1, "max_size": 8},
        {"min_size": 1, "max_size": 1, "max_overflow": 7},
        {"min_size": 0, "max_size": 8, "max_idle": 0},
    ],
    ids=["growing", "overflow", "none kept"],
)


def held_by_four(loop: SteppedLoop, settings: dict[str, Any]) -> tuple[World, list[Any]]:
    world = serving(loop, **settings)
    holders = [loop.create_task(world.queue.acquire(5)) for _ in range(4)]
    loop.settle()
    arrive(loop, world.diallers[0])
    return world, [holder.result() for holder in holders]


def give_back(loop: SteppedLoop, world: World, connections: list[Any]) -> None:
    for conn in connections:
        loop.create_task(world.queue.release(conn))
    loop.settle()


@SIZES
def test_for_callers_who_wait_in_a_pause_nothing_is_made_or_closed(
    loop: SteppedLoop, settings: dict[str, Any]
) -> None:
    world, held = held_by_four(loop, settings)
    pool, made = world.queue.pool, len(world.connections)
    assert pool is not None
    began = pause(loop, world)
    callers = [caller(loop, world) for _ in range(4)]
    give_back(loop, world, held)
    loop.call(pool.sweep)
    loop.call(pool.resized)
    assert not world.diallers[0].dials
    loop.call(lambda: world.queue.answered(began))
    loop.settle()

    assert len(world.connections) == made
    assert {task.result() for task in callers} == set(held)


@SIZES
def test_after_a_pause_no_more_are_kept_than_without_it(
    loop: SteppedLoop, settings: dict[str, Any]
) -> None:
    world, held = held_by_four(loop, settings)
    began = pause(loop, world)
    callers = [caller(loop, world) for _ in range(2)]
    give_back(loop, world, held)
    callers[0].cancel()
    loop.call(lambda: world.queue.answered(began))
    loop.settle()
    give_back(loop, world, [callers[1].result()])

    assert world.queue.figures().size <= world.ledger.kept


def test_in_a_pause_an_exhausted_pool_is_what_a_caller_learns_of(loop: SteppedLoop) -> None:
    world = serving(loop, min_size=1, max_size=1)
    world.live.phase.current = 0
    caller(loop, world)
    late = caller(loop, world, 5)
    loop.advance(5 - LONGEST / 2)
    pause(loop, world)
    loop.advance(LONGEST)

    assert isinstance(late.exception(), PoolExhausted)


def test_who_is_refused_in_a_pause_learns_of_it(loop: SteppedLoop) -> None:
    world = serving(loop, min_size=1, max_size=1, max_waiting=1)
    pause(loop, world)
    caller(loop, world)
    refused = caller(loop, world).exception()

    assert isinstance(refused, TooManyRequests)
    assert WHY in str(refused.__notes__)


async def test_a_program_that_writes_in_read_only_transactions_holds_others_up_once_or_twice(
    alone: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(alone[0], target="primary", health_interval=10)
    queue = manager._runtime.queue
    pauses, begin = [], queue.pause

    def counted(because: str) -> None:
        pauses.append(because)
        begin(because)

    queue.pause = counted

    async def write() -> None:
        with pytest.raises(errors.ReadOnlySqlTransaction):
            async with manager.connection() as conn:
                await conn.execute("set transaction read only")
                await conn.execute("create table forbidden (id int)")

    for _ in range(20):  # its own mistake, again and again
        await asyncio.gather(write(), write(), write())
        async with manager.connection(timeout=1) as conn:
            await conn.execute("select 1")

    assert 1 <= len(pauses) <= 2  # the first answer proves the doubt wrong, and others wait


async def test_a_write_in_a_transaction_that_was_to_read_is_no_doubt_about_the_server(
    alone: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(alone[0], target="primary", health_interval=10)
    doubts: list[str] = []
    manager._runtime.live.evidence.suspect = doubts.append

    async def write(conn: Any) -> None:
        await conn.execute("create table forbidden (id int)")

    with pytest.raises(errors.ReadOnlySqlTransaction):
        await manager.run(write, readonly=True)
    with pytest.raises(errors.ReadOnlySqlTransaction):
        async with manager.transaction(readonly=True) as conn:
            await write(conn)

    assert not doubts


@pytest.mark.parametrize("dials", [False, True], ids=["probe", "probe after a dial"])
async def test_a_pause_ends_with_the_answer(
    alone: Cluster, moor: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, *, dials: bool
) -> None:
    monkeypatch.setattr("pgmoor._core.pool.lending_pause.LONGEST", 3600.0)
    with FaultProxy(alone[0].host, alone[0].port) as proxy:
        manager = await moor(proxy, target="primary", min_size=2, max_size=2, health_interval=10)
        await manager.wait()
        queue = manager._runtime.queue
        with pytest.raises(errors.ReadOnlySqlTransaction):
            async with manager.connection() as conn:
                await conn.execute("set transaction read only")
                await conn.execute("create table forbidden (id int)")
        assert queue.pausing
        if dials:  # for `min_size`; its answer may come before the probe's
            queue.pool.ready[0].discard()
        await until(lambda: not queue.pausing)

        async with manager.connection(timeout=1) as conn:
            await conn.execute("select 1")
