"""A connection without an answer condemns those that are as old, and no fresh one."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from support import Dials, fill

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgmoor.testing import Cluster


async def test_idle_connections_cut_silently_are_each_replaced_once(
    alone: Cluster, moor: Callable[..., Any], proxies: Callable[..., Any]
) -> None:
    (door,) = proxies(alone)
    manager = await moor(
        door, min_size=10, max_size=11, validate_after=0.0, health_timeout=0.3, num_workers=11
    )
    await manager.wait()
    await fill(manager, 10)
    dials = Dials()
    manager.instrument(dials)
    door.silent(new=False)  # what exists leads nowhere, and new ones work

    async def caller(after: float) -> None:
        await asyncio.sleep(after)
        async with manager.connection(timeout=10) as conn:
            await conn.execute("select pg_sleep(0.1)")

    # Ten take an idle one each; the others come while fresh ones are lent and given back.
    await asyncio.gather(*(caller(n / 40) for n in range(40)))

    assert dials.count <= 12
