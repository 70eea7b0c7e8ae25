"""A connection on its way back is not lost, no matter who is cancelled meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgmoor.testing import Cluster


async def turns(count: int) -> None:
    """Let the loop make some turns."""
    for _ in range(count):
        await asyncio.sleep(0)


async def test_a_waiter_and_a_returner_may_be_cancelled_in_any_turn_of_the_loop(
    alone: Cluster, moor: Callable[..., Any]
) -> None:
    """In one of them psycopg_pool, on Python 3.11, waits for a lock while it holds a connection."""
    manager = await moor(*alone, min_size=1, max_size=1)
    for before in range(8):
        for after in range(6):
            conn = await manager.getconn(timeout=1)
            waiter = asyncio.create_task(manager.getconn())
            await turns(before)
            waiter.cancel()
            returner = asyncio.create_task(manager.putconn(conn))
            await turns(after)
            returner.cancel()
            await asyncio.wait([returner, waiter])
            if not waiter.cancelled():
                await manager.putconn(waiter.result())
            with contextlib.suppress(ValueError):  # it was given back
                await manager.putconn(conn)

            await manager.putconn(await manager.getconn(timeout=1))
    pool = manager._runtime.queue.pool
    assert (pool.ledger.held, pool.size) == (0, 1)
