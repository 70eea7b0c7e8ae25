"""A caller's `timeout` may have any value: no connection is lost to it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from pgmoor import PoolExhausted
from support import until

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgmoor.testing import Cluster


async def test_with_an_endless_timeout_a_caller_waits(
    alone: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(*alone, min_size=1, max_size=1)
    for timeout in (float("inf"), 1e300):
        conn = await manager.getconn(timeout=1)
        waiter = asyncio.create_task(manager.getconn(timeout=timeout))
        await until(lambda: manager.get_stats()["requests_waiting"] == 1)
        await manager.putconn(conn)
        assert await waiter is conn, timeout
        await manager.putconn(conn)


async def test_without_any_timeout_a_caller_gets_an_idle_connection_or_an_error(
    alone: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(*alone, min_size=1, max_size=1)
    await manager.wait()
    for timeout in (0, -1, float("-inf"), 1e-300):
        conn = await manager.getconn(timeout=timeout)
        with pytest.raises(PoolExhausted):
            await manager.getconn(timeout=timeout)
        await manager.putconn(conn)
        await manager.putconn(await manager.getconn(timeout=1))
