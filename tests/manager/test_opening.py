"""`open()` while it waits for a callable: a second `open()`, a `close()`, and a time limit."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING

import pytest

from pgmoor import ConnectionManager, ManagerClosed, NoHostAvailable

if TYPE_CHECKING:
    from pgmoor.testing import Cluster


class Registry:
    """Returns a conninfo when the test lets it."""

    def __init__(self, conninfo: str) -> None:
        self.conninfo = conninfo
        self.calls = 0
        self.answer = asyncio.Event()

    async def __call__(self) -> str:
        self.calls += 1
        await self.answer.wait()
        return self.conninfo


async def test_two_tasks_may_open_a_manager_at_once(alone: Cluster) -> None:
    registry = Registry(alone.conninfo())
    manager = ConnectionManager(registry, min_size=1)
    tasks = [asyncio.create_task(manager.open(wait=True)) for _ in range(2)]
    await asyncio.sleep(0)
    registry.answer.set()
    await asyncio.gather(*tasks)
    conn = await manager.getconn(timeout=5)
    await manager.putconn(conn)
    await manager.close()


async def test_a_manager_that_is_closed_meanwhile_does_not_start(alone: Cluster) -> None:
    registry = Registry(alone.conninfo())
    manager = ConnectionManager(registry, min_size=1)
    task = asyncio.create_task(manager.open())
    await asyncio.sleep(0)
    await manager.close()
    registry.answer.set()
    with pytest.raises(ManagerClosed, match="was closed"):
        await task

    assert registry.calls == 1
    assert not [task for task in asyncio.all_tasks() if manager.name in task.get_name()]


async def test_a_callable_that_hangs_gets_connect_timeout_or_the_timeout_of_open(
    alone: Cluster,
) -> None:
    registry = Registry(alone.conninfo())
    manager = ConnectionManager(registry, kwargs={"connect_timeout": "0.1"}, min_size=1)
    began = monotonic()
    with pytest.raises(NoHostAvailable, match=r"conninfo returned nothing within 0\.1 s"):
        await manager.open()
    with pytest.raises(NoHostAvailable, match=r"conninfo returned nothing within 0\.05 s"):
        await manager.open(wait=True, timeout=0.05)
    assert monotonic() - began < 1

    registry.answer.set()  # it can be opened again
    async with manager, manager.connection(timeout=5) as conn:
        await conn.execute("select 1")


async def test_with_wait_the_callable_and_the_pool_share_the_time(alone: Cluster) -> None:
    async def slow() -> str:
        await asyncio.sleep(0.2)
        return "host=127.0.0.1 port=1 user=postgres"

    manager = ConnectionManager(slow, min_size=1)
    began = monotonic()
    with pytest.raises(NoHostAvailable, match="not ready within"):
        await manager.open(wait=True, timeout=0.4)
    assert 0.35 < monotonic() - began < 1.4
    await manager.close()
