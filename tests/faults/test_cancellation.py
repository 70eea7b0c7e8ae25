"""Tasks are cancelled at every await: no connection is lost, and no healthy one is closed."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

import anyio
import psycopg
import pytest

from cancelling import all_free, limited_by_anyio, limited_by_asyncio, pids
from pgmoor import ConnectionAborted
from support import both_loops, loop_name, until

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator

    from pgmoor import ConnectionManager
    from pgmoor.testing import Cluster

TIMES = {"asyncio": 10_000, "uvloop": 2_000}


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def one_task(manager: ConnectionManager) -> None:
    """Do what an application does, with every kind of await in it."""
    async with manager.connection() as conn:
        await conn.execute("select 1")
        async with conn.transaction():
            await conn.execute("insert into work (id) values ('c')")
        await asyncio.sleep(0)


class CancelAt:
    """Awaits a coroutine, and calls *cancel* when it has been suspended for the *at*-th time."""

    def __init__(self, work: Coroutine[Any, Any, None], at: int, cancel: Callable[[], Any]) -> None:
        self._work = work
        self._at = at
        self._cancel = cancel

    def __await__(self) -> Generator[Any, Any, None]:
        steps = self._work.__await__()
        suspensions = 0
        try:
            waits_for = steps.send(None)
            while True:
                suspensions += 1
                if suspensions == self._at:
                    asyncio.get_running_loop().call_soon(self._cancel)
                try:
                    yield waits_for
                except BaseException as error:  # noqa: BLE001  it is passed on
                    waits_for = steps.throw(error)
                else:
                    waits_for = steps.send(None)
        except StopIteration:
            return


async def cancelled_by_asyncio(manager: ConnectionManager, at: int) -> bool:
    """Cancel a task at its *at*-th await; return False if it ended before that."""
    requested = False

    def cancel() -> None:
        nonlocal requested
        requested = task.cancel()

    async def work() -> None:
        await CancelAt(one_task(manager), at, cancel)

    task = asyncio.create_task(work())
    try:
        await task
    except asyncio.CancelledError:
        return True
    assert not requested, "CancelledError was swallowed"
    return False


async def cancelled_by_anyio(manager: ConnectionManager, at: int) -> bool:
    with anyio.CancelScope() as scope:
        await CancelAt(one_task(manager), at, scope.cancel)
    return scope.cancelled_caught


@pytest.mark.thorough
@both_loops
async def test_ten_thousand_cancellations_lose_and_close_no_connection(
    alone: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(*alone, min_size=4, max_size=4)
    before = await pids(manager, 4)
    open_before = descriptors()
    rng = random.Random(7)
    times = TIMES[loop_name()]
    caught = 0

    async def canceller(how: Callable[..., Any]) -> None:
        nonlocal caught
        while caught < times:
            cancelled = await how(manager, rng.randrange(1, 10))  # of eight awaits, seldom more
            caught += cancelled  # not before the await: others count meanwhile

    await asyncio.gather(
        *(canceller(how) for how in (cancelled_by_asyncio, cancelled_by_anyio) for _ in range(4))
    )

    await all_free(manager)
    assert await pids(manager, 4) == before  # the same sessions: none was closed
    assert manager.get_stats()["returns_bad"] == 0
    assert descriptors() <= open_before
    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("pgmoor-cancel")]


@both_loops
async def test_a_task_can_be_cancelled_at_each_of_its_awaits_in_order(
    alone: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(*alone, min_size=2, max_size=2)
    before = await pids(manager, 2)
    for how in (cancelled_by_asyncio, cancelled_by_anyio):
        at = 1
        while await how(manager, at):
            at += 1
        assert at > 5, "the task has more awaits than that"

    await all_free(manager)
    assert await pids(manager, 2) == before


@both_loops
async def test_a_connection_survives_a_timeout_around_a_slow_query(
    alone: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(*alone, min_size=1, max_size=1)
    async with manager.connection() as conn:
        pid = conn.info.backend_pid
        for limited in 2 * (limited_by_asyncio, limited_by_anyio):
            began = monotonic()
            with pytest.raises(TimeoutError):
                await limited(0.05, conn.execute("select pg_sleep(10)"))
            assert monotonic() - began < 1.0
            await conn.rollback()
        assert (await (await conn.execute("select 1")).fetchone()) == (1,)

    assert await pids(manager, 1) == {pid}


@both_loops
async def test_a_timeout_on_a_silent_server_takes_cancel_timeout_longer(
    alone: Cluster, moor: Callable[..., Any], proxies: Callable[..., Any]
) -> None:
    (door,) = proxies(alone)
    manager = await moor(door, min_size=1, max_size=1, cancel_timeout=0.3)
    for limited in (limited_by_asyncio, limited_by_anyio):
        conn = await manager.getconn()
        await conn.execute("select 1")
        door.silent()
        began = monotonic()
        with pytest.raises(TimeoutError):
            await limited(0.1, conn.execute("select 1"))
        taken = monotonic() - began
        await manager.putconn(conn)
        door.heal()

        assert 0.3 < taken < 1.0, taken
        assert conn.closed


@both_loops
async def test_a_cancelled_copy_leaves_a_usable_connection(
    alone: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(*alone, min_size=1, max_size=1)
    before = await pids(manager, 1)

    async def copy() -> None:
        async with manager.connection() as conn:
            cursor = conn.cursor()
            async with cursor.copy("copy (select pg_sleep(10)) to stdout") as stream:
                async for _ in stream:
                    pass

    with pytest.raises(TimeoutError):
        await limited_by_asyncio(0.05, copy())

    await all_free(manager)
    assert await pids(manager, 1) == before


async def test_a_cancelled_waiter_leaves_the_queue(
    alone: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(*alone, min_size=1, max_size=1)
    conn = await manager.getconn()
    waiters = [asyncio.create_task(manager.getconn()) for _ in range(5)]
    await until(lambda: manager.get_stats()["requests_waiting"] == 5)
    for waiter in waiters[:4]:
        waiter.cancel()
    await asyncio.wait(waiters[:4])
    await manager.putconn(conn)

    again = await waiters[4]
    assert again is conn
    await manager.putconn(again)


async def test_a_waiter_cancelled_as_it_is_served_passes_the_connection_on(
    alone: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(*alone, min_size=1, max_size=1)
    conn = await manager.getconn()
    first = asyncio.create_task(manager.getconn())
    second = asyncio.create_task(manager.getconn())
    await until(lambda: manager.get_stats()["requests_waiting"] == 2)

    await manager.putconn(conn)  # handed to the first ...
    first.cancel()  # ... which is cancelled before it runs

    with pytest.raises(asyncio.CancelledError):
        await first
    assert await second is conn
    await manager.putconn(conn)


@both_loops
async def test_a_rollback_goes_on_when_its_caller_is_cancelled(
    alone: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(*alone, min_size=1, max_size=1)
    before = await pids(manager, 1)
    with anyio.CancelScope() as scope:
        async with manager.connection() as conn:
            await conn.execute("insert into work (id) values ('never')")
            scope.cancel()
            await asyncio.sleep(1)

    await all_free(manager)
    assert await pids(manager, 1) == before
    assert await alone[0].sql("select id from work") == []


@both_loops
async def test_an_abort_ends_a_query_with_host_and_reason(
    alone: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(*alone, min_size=1, max_size=1)
    conn = await manager.getconn()
    query = asyncio.create_task(conn.execute("select pg_sleep(10)"))
    await alone[0].wait_for(
        "select exists (select from pg_stat_activity where query ~ 'sleep\\(10')"
    )
    conn.abort("the host was left")
    message = f"127.0.0.1:{alone[0].port} was aborted: the host was left"
    with pytest.raises(ConnectionAborted, match=message) as error:
        await query
    await manager.putconn(conn)

    assert isinstance(error.value, psycopg.OperationalError)
    async with manager.connection() as other:
        assert other is not conn
