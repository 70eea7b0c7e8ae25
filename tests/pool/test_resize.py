"""`resize()` while callers wait or a failback is under way."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from pgmoor.events import Failback, Failover
from support import hold, recorder, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgmoor.testing import Cluster


async def test_a_pool_that_is_being_filled_for_a_failback_gets_the_new_limits(
    pair: Cluster, moor: Callable[..., Any], proxies: Callable[..., Any]
) -> None:
    filling, filled = asyncio.Event(), asyncio.Event()
    preferred = True

    async def configure(conn: Any) -> None:
        if not preferred and conn.info.port == doors[0].port:
            filling.set()
            await filled.wait()

    doors = proxies(pair)
    manager = await moor(
        *doors,
        target="any",
        min_size=1,
        max_size=1,
        failback_after=0.2,
        health_interval=0.1,
        configure=configure,
    )
    await manager.wait()
    preferred = False
    doors[0].refuse()
    doors[0].reset()
    await recorder(manager).wait_for(Failover)
    doors[0].heal()
    await filling.wait()
    await manager.resize(2, 3)
    filled.set()
    await recorder(manager).wait_for(Failback)

    conns = await hold(manager, 3)
    assert {conn.info.port for conn in conns} == {doors[0].port}
    for conn in conns:
        await manager.putconn(conn)


async def test_callers_who_wait_are_served_as_soon_as_the_limits_allow(
    alone: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(*alone, min_size=1, max_size=1)
    conns = await hold(manager, 1)
    waiters = [asyncio.create_task(manager.getconn(timeout=5)) for _ in range(3)]
    await until(lambda: manager.get_stats()["requests_waiting"] == 3)
    await manager.resize(1, 4)
    conns += await asyncio.gather(*waiters)

    assert len(set(conns)) == 4
    for conn in conns:
        await manager.putconn(conn)
