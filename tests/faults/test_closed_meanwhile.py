"""The manager is closed in the middle of something: it ends in time and leaves nothing behind."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from socket import AF_INET, socket
from time import monotonic
from typing import TYPE_CHECKING, Any

import pytest

from pgmoor import ConnectionManager, ManagerClosed
from pgmoor.events import Failover, HostUp, OutageStarted
from support import both_loops, hold, recorder, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from pgmoor.testing import Cluster, FaultProxy

SETTINGS = {"close_timeout": 2.0, "keepalive_interval": 3600.0}


@asynccontextmanager
async def closes(*doors: FaultProxy, within: float) -> AsyncIterator[None]:
    """Check that closing takes less than *within* seconds and leaves no task or connection."""
    began = monotonic()
    yield
    taken = monotonic() - began
    assert taken < within, taken
    await asyncio.sleep(0)
    assert not sockets_to({door.port for door in doors})
    assert not [task for task in asyncio.all_tasks() if "pgmoor" in task.get_name()]


def sockets_to(ports: set[int]) -> list[int]:
    """Return the descriptors of this process that are connected to one of these ports."""
    gc.collect()
    found = []
    for path in Path("/proc/self/fd").iterdir():
        with suppress(OSError):  # the one that lists them, and unconnected sockets
            if str(path.readlink()).startswith("socket:"):
                with socket(fileno=os.dup(int(path.name))) as copy:
                    if copy.family is AF_INET and copy.getpeername()[1] in ports:
                        found.append(int(path.name))
    return found


@pytest.fixture
def door(alone: Cluster, proxies: Callable[..., Any]) -> FaultProxy:
    found: FaultProxy = proxies(alone)[0]
    return found


async def test_a_manager_can_be_closed_during_an_outage(
    moor: Callable[..., Any], door: FaultProxy
) -> None:
    manager = await moor(door, health_interval=0.1, **SETTINGS)
    await manager.wait()
    door.refuse()
    door.reset()
    await recorder(manager).wait_for(OutageStarted)
    waiters = [asyncio.create_task(manager.getconn()) for _ in range(10)]
    await until(lambda: manager.get_stats()["requests_waiting"] == 10)
    async with closes(door, within=0.5):
        await manager.close()

    for result in await asyncio.gather(*waiters, return_exceptions=True):
        assert isinstance(result, ManagerClosed)
    with pytest.raises(ManagerClosed):
        await manager.getconn()


@both_loops
@pytest.mark.parametrize("silence", ["deaf", "blackhole"])
async def test_a_manager_can_be_closed_during_a_dial_without_answer(
    silence: str, moor: Callable[..., Any], door: FaultProxy
) -> None:
    getattr(door, silence)()
    manager = await moor(door, target="any", **SETTINGS)
    waiter = asyncio.create_task(manager.getconn())
    await until(lambda: manager.get_stats()["requests_waiting"] == 1)
    doors = [door] if silence == "deaf" else []  # a black hole is connected to itself
    async with closes(*doors, within=0.5):
        await manager.close()

    with pytest.raises(ManagerClosed):
        await waiter


async def test_a_manager_can_be_closed_while_a_dial_for_its_pool_hangs(
    moor: Callable[..., Any], door: FaultProxy
) -> None:
    manager = await moor(door, min_size=1, max_size=4, **SETTINGS)
    await manager.wait()
    (held,) = await hold(manager, 1)
    dials = door.accepted
    door.deaf()
    waiter = asyncio.create_task(manager.getconn())
    await until(lambda: door.accepted > dials)
    await manager.putconn(held)  # goes to the waiter
    await manager.putconn(await waiter)
    async with closes(door, within=0.5):
        await manager.close()


@both_loops
async def test_a_manager_can_be_closed_during_a_ping(
    moor: Callable[..., Any], door: FaultProxy
) -> None:
    manager = await moor(door, min_size=1, validate_after=0.0, health_timeout=30.0, **SETTINGS)
    await manager.wait()
    await manager.putconn((await hold(manager, 1))[0])
    door.silent()
    caller = asyncio.create_task(manager.getconn())
    await until(lambda: not manager._runtime.queue.pool.ready)  # taken out, to be pinged
    async with closes(door, within=0.5):
        await manager.close()

    with pytest.raises(ManagerClosed):
        await caller


async def test_a_manager_can_be_closed_during_a_failback_without_answers(
    equals: list[FaultProxy], moor: Callable[..., Any]
) -> None:
    preferred, other = equals
    manager = await moor(
        preferred, other, health_interval=0.05, failback="manual", min_size=3, **SETTINGS
    )
    await manager.wait()
    preferred.refuse()
    preferred.reset()
    await recorder(manager).wait_for(Failover)
    seen = len(recorder(manager).events)
    preferred.heal()
    await until(lambda: any(isinstance(event, HostUp) for event in recorder(manager).events[seen:]))
    preferred.deaf()  # the probe's connection lives, and no new one can be made
    dials = preferred.accepted
    manager.failback()
    await until(lambda: preferred.accepted >= dials + 3)
    (held,) = await hold(manager, 1)  # from the other one, meanwhile
    assert held.info.port == other.port
    await manager.putconn(held)
    async with closes(preferred, other, within=0.5):
        await manager.close()


async def test_a_manager_can_be_closed_right_after_open(door: FaultProxy) -> None:
    for turns in range(25):  # of the event loop, between the two
        manager = ConnectionManager(
            "user=postgres dbname=postgres", hosts=[f"{door.host}:{door.port}"]
        )
        await manager.open()
        for _ in range(turns):
            await asyncio.sleep(0)
        began = monotonic()
        await manager.close()
        assert monotonic() - began < 0.5
        with pytest.raises(ManagerClosed):
            await manager.open()
    async with closes(door, within=0.5):
        pass


@both_loops
async def test_a_cancelled_close_goes_on_and_may_be_called_again(
    moor: Callable[..., Any], door: FaultProxy
) -> None:
    manager = await moor(door, close_timeout=0.5)
    (held,) = await hold(manager, 1)
    await held.execute("select 1")
    door.silent()
    closing = asyncio.create_task(manager.close())
    await asyncio.sleep(0)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    async with closes(door, within=1.5):
        await asyncio.gather(manager.close(), manager.close(timeout=60))
        assert held.abort_reason is not None
        await manager.putconn(held)


async def test_a_listener_that_ignores_cancellation_does_not_delay_close(
    moor: Callable[..., Any], door: FaultProxy, caplog: pytest.LogCaptureFixture
) -> None:
    release = asyncio.Event()

    async def defiant(event: object) -> None:
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                logging.getLogger("test").info("no")

    manager = await moor(door, on_event=defiant)
    await manager.wait()
    began = monotonic()
    await manager.close(timeout=0.5)
    taken = monotonic() - began
    release.set()

    assert taken < 1.0, taken
    assert "defiant of 'pgmoor-" in caplog.text
    assert " did not finish within" in caplog.text
