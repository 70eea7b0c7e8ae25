"""`close()` in another loop, cancelled midway, and by a task that its own holder waits for."""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

import anyio
import psycopg
import pytest

from pgmoor import ConnectionManager, ManagerClosed
from support import both_loops, hold

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from pgmoor.testing import Cluster

LONG = 30.0  # seconds: a `close_timeout` that no test waits for
SOON = 10.0  # seconds


def descriptors() -> list[str]:
    """Return what the open descriptors of this process lead to, without those of event loops."""
    gc.collect()
    found = []
    for path in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # the one that lists them
            found.append(str(path.readlink()))
    return sorted(name for name in found if name.startswith("socket:"))


async def no_session(cluster: Cluster, name: str) -> None:
    """Wait until the server has no session with that application name."""
    await cluster[0].wait_for(
        f"select not exists (select from pg_stat_activity where application_name = '{name}')"
    )


# -- another event loop -------------------------------------------------------------------------


async def test_close_in_another_loop_raises_and_its_own_loop_still_closes_it(
    alone: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    manager = ConnectionManager(alone.conninfo(application_name="elsewhere"), min_size=2)
    await manager.open(wait=True)

    def close_elsewhere() -> str:
        with pytest.raises(ManagerClosed) as caught:
            asyncio.run(manager.close())
        return str(caught.value)

    error = await asyncio.to_thread(close_elsewhere)
    assert "was opened in another event loop" in error
    assert "in one event loop" in error  # the remedy
    assert not manager.closed
    async with manager.connection() as conn:
        await conn.execute("select 1")

    await manager.close()
    await no_session(alone, "elsewhere")
    await asyncio.to_thread(asyncio.run, manager.close())  # nothing is left to do
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


async def test_close_after_the_end_of_its_loop_raises(alone: Cluster) -> None:
    def program() -> str:
        manager = ConnectionManager(alone.conninfo(application_name="ended"), min_size=1)
        asyncio.run(manager.open(wait=True))
        with pytest.raises(ManagerClosed) as caught:
            asyncio.run(manager.close())
        error = str(caught.value)
        del caught  # its traceback holds the manager
        with pytest.warns(ResourceWarning, match="was dropped while it was open"):  # noqa: PT031
            del manager
            gc.collect()
        gc.collect()  # the record of the warning held it
        return error

    assert "was opened in an event loop that has ended" in await asyncio.to_thread(program)
    await no_session(alone, "ended")


# -- cancelled midway ---------------------------------------------------------------------------


@both_loops
async def test_a_cancelled_close_lets_its_caller_go_and_goes_on(alone: Cluster) -> None:
    before = descriptors()
    manager = ConnectionManager(
        alone.conninfo(application_name="goes on"), min_size=4, max_size=8, close_timeout=LONG
    )
    await manager.open(wait=True)
    conns = await hold(manager, 6)
    closing = asyncio.create_task(manager.close())
    await asyncio.sleep(0.05)
    began = monotonic()
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    assert monotonic() - began < 1.0

    second = asyncio.create_task(manager.close())
    await asyncio.sleep(0.05)
    assert not second.done()
    for conn in conns:
        await manager.putconn(conn)
    await asyncio.wait_for(second, SOON)
    await no_session(alone, "goes on")
    del conns, conn
    assert descriptors() == before


@both_loops
@pytest.mark.parametrize(
    "pauses", [[0.0], [0.05], [0.05, 0.01, 0.0]], ids=["at once", "midway", "thrice"]
)
async def test_a_closing_that_is_itself_cancelled_cuts_everything_at_once(
    pauses: list[float], alone: Cluster
) -> None:
    before = descriptors()
    manager = ConnectionManager(
        alone.conninfo(application_name="hastened"), min_size=4, max_size=8, close_timeout=LONG
    )
    await manager.open(wait=True)
    conns = await hold(manager, 6)
    query = asyncio.create_task(conns[0].execute("select pg_sleep(1)"))
    await asyncio.sleep(0)
    closing = asyncio.create_task(manager.close())
    began = monotonic()
    for pause in pauses:
        await asyncio.sleep(pause)
        cancel_all(f"{manager.name}-close")
    while not closing.done():  # noqa: ASYNC110  this holder is not to wait for the task
        await asyncio.sleep(0.01)
    await manager.close()
    assert monotonic() - began < SOON

    with pytest.raises(psycopg.OperationalError):
        await query
    await no_session(alone, "hastened")
    assert all(conn.closed for conn in conns)
    del conns, query
    assert descriptors() == before


def cancel_all(name: str) -> None:
    for task in asyncio.all_tasks():
        if task.get_name() == name:
            task.cancel()


@pytest.mark.parametrize("delay", [0.0, 0.05], ids=["first turn", "midway"])
async def test_a_program_that_ends_while_it_closes_leaves_nothing_behind(
    delay: float, alone: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    async def program() -> None:
        manager = ConnectionManager(
            alone.conninfo(application_name="program"), min_size=4, max_size=8, close_timeout=LONG
        )
        await manager.open(wait=True)
        conns.extend(await asyncio.create_task(hold(manager, 6)))
        with suppress(TimeoutError):
            async with asyncio.timeout(delay):
                await manager.close()

    conns: list[Any] = []
    before = descriptors()
    began = monotonic()
    thread = threading.Thread(target=asyncio.run, args=[program()])
    thread.start()
    await asyncio.to_thread(thread.join, SOON)
    assert not thread.is_alive()
    assert monotonic() - began < SOON
    assert [conn.closed for conn in conns] == 6 * [True]
    assert descriptors() == before
    await no_session(alone, "program")
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


# -- the holder waits for the task that closes --------------------------------------------------


async def in_a_task_group(manager: ConnectionManager) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(manager.close())


async def in_a_task_group_of_anyio(manager: ConnectionManager) -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(manager.close)


async def by_gather(manager: ConnectionManager) -> None:
    await asyncio.gather(manager.close(), asyncio.sleep(0))


async def by_wait_for(manager: ConnectionManager) -> None:
    await asyncio.wait_for(manager.close(), SOON)


async def by_a_task(manager: ConnectionManager) -> None:
    await asyncio.create_task(manager.close())


async def by_a_task_of_before(manager: ConnectionManager) -> None:
    closing = asyncio.create_task(manager.close())
    await asyncio.sleep(0.1)
    await closing


async def by_a_second_call(manager: ConnectionManager) -> None:
    first = asyncio.create_task(manager.close())
    await asyncio.sleep(0.1)
    await manager.close()
    await first


WAYS: list[Callable[[ConnectionManager], Coroutine[Any, Any, None]]] = [
    in_a_task_group,
    in_a_task_group_of_anyio,
    by_gather,
    by_wait_for,
    by_a_task,
    by_a_task_of_before,
    by_a_second_call,
]


@both_loops
@pytest.mark.parametrize("way", WAYS)
async def test_close_does_not_wait_for_a_holder_who_waits_for_it(
    way: Callable[[ConnectionManager], Coroutine[Any, Any, None]], alone: Cluster
) -> None:
    manager = ConnectionManager(
        alone.conninfo(application_name="holder"), min_size=1, close_timeout=LONG
    )
    await manager.open(wait=True)
    began = monotonic()
    async with manager.connection():
        await way(manager)

    assert monotonic() - began < SOON
    await no_session(alone, "holder")


async def test_close_waits_for_a_holder_who_does_not_wait_for_it_yet(alone: Cluster) -> None:
    manager = ConnectionManager(alone.conninfo(), min_size=1, close_timeout=LONG)
    await manager.open(wait=True)
    async with asyncio.TaskGroup() as group, manager.connection() as conn:
        closing = group.create_task(manager.close())
        await conn.execute("select pg_sleep(0.2)")
        assert not closing.done()


async def test_a_listener_whose_task_closes_is_not_waited_for(alone: Cluster) -> None:
    began = asyncio.Event()

    async def close_in_a_task(event: object) -> None:
        if not began.is_set():
            began.set()
            async with asyncio.TaskGroup() as group:
                group.create_task(manager.close())

    manager = ConnectionManager(
        alone.conninfo(), min_size=1, close_timeout=LONG, on_event=close_in_a_task
    )
    await manager.open()
    await began.wait()
    await asyncio.wait_for(manager.close(), SOON)
