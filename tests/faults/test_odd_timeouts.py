"""A caller's `timeout` of any value costs nobody a connection."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from pgmoor import PoolExhausted
from support import until

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgmoor.testing import Cluster


@pytest.mark.parametrize("timeout", [float("inf"), float("nan"), 1e300])
async def test_an_endless_one_waits(
    timeout: float, alone: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(*alone, min_size=1, max_size=1)
    conn = await manager.getconn()
    waiter = asyncio.create_task(manager.getconn(timeout=timeout))
    await until(lambda: manager.get_stats()["requests_waiting"] == 1)
    await manager.putconn(conn)

    assert await waiter is conn
    await manager.putconn(conn)
    await manager.putconn(await manager.getconn(timeout=1))


@pytest.mark.parametrize("timeout", [0, -1, float("-inf"), 1e-300])
async def test_none_at_all_takes_what_lies_ready(
    timeout: float, alone: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(*alone, min_size=1, max_size=1)
    await manager.wait()
    conn = await manager.getconn(timeout=timeout)
    with pytest.raises(PoolExhausted):
        await manager.getconn(timeout=timeout)
    await manager.putconn(conn)
    await manager.putconn(await manager.getconn(timeout=1))
