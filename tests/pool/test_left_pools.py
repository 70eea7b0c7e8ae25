"""A retired pool dies by its reference count alone, once all of its connections have come back."""

from __future__ import annotations

import gc
import weakref
from typing import TYPE_CHECKING, Any

from pgmoor.events import Failover
from support import recorder, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgmoor.testing import Cluster


async def test_a_left_pool_goes_without_the_garbage_collector(
    pair: Cluster, moor: Callable[..., Any], proxies: Callable[..., Any]
) -> None:
    doors = proxies(pair)
    manager = await moor(*doors, target="any", min_size=2, max_size=4, health_interval=0.1)
    await manager.wait()
    conns = [await manager.getconn() for _ in range(3)]
    gc.collect()
    gc.disable()
    try:
        pool = weakref.ref(manager._runtime.queue.pool)
        doors[0].refuse()
        doors[0].reset()
        await recorder(manager).wait_for(Failover)
        for conn in conns:
            await manager.putconn(conn)
        del conn, conns
        await until(lambda: pool() is None, timeout=5)
    finally:
        gc.enable()
