"""What each answer of a probe does for the idle connections of its host."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from stub_pool import SteppedLoop, World
from support import until

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgmoor.testing import Cluster


async def test_an_idle_connection_that_has_been_sent_something_is_kept(
    alone: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(*alone, min_size=1, max_size=1, health_interval=3600)
    await manager.wait()
    async with manager.connection() as conn:
        await conn.execute("listen news")
    await alone[0].sql("notify news")
    await until(conn.has_unread)
    pool = manager._runtime.queue.pool

    pool.sweep()
    assert pool.ready == [conn]

    await alone[0].sql(f"select pg_terminate_backend({conn.info.backend_pid})")
    await until(lambda: conn.closed or conn.has_ended())  # the probe may have had it swept
    pool.sweep()
    assert conn not in pool.ready
    assert conn.closed


def test_dials_that_something_else_has_cancelled_are_begun_again() -> None:
    loop = SteppedLoop()
    world = loop.call(lambda: World(min_size=2, max_size=2))
    pool = loop.call(lambda: world.make_pool(0))
    loop.create_task(pool.open())
    loop.settle()
    for task in asyncio.all_tasks(loop):
        if task.get_name().endswith("-dial"):
            task.cancel()
    loop.settle()
    assert not world.dials

    loop.call(pool.sweep)
    loop.settle()

    assert len(world.dials) == pool.filler.dialling == 2
    loop.end()
