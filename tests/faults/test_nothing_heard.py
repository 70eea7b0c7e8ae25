"""What goes on without the server, or had come before, is no sign of the server's life."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING, Any

from pgmoor.events import Failover
from support import hold, recorder

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from pgmoor.testing import Cluster

MANY = "select repeat('x', 100) from generate_series(1, 20000)"


async def rolls_back(conn: Any) -> AsyncIterator[object]:
    while True:
        yield await conn.rollback()  # there is no transaction


async def reads_rows(conn: Any) -> AsyncIterator[object]:
    async for row in conn.cursor().stream(MANY):
        yield row


async def copies_out(conn: Any) -> AsyncIterator[object]:
    async with conn.cursor().copy(f"copy ({MANY}) to stdout") as copy:
        async for block in copy:
            yield block


async def test_a_frozen_host_is_left_whatever_goes_on_without_it(
    pair: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(*pair, target="any", health_interval=0.2, health_timeout=0.3)
    await manager.wait()
    held = await hold(manager, 3)
    under_way = [
        work(conn) for work, conn in zip((rolls_back, reads_rows, copies_out), held, strict=True)
    ]
    for steps in under_way:
        await anext(steps)

    async def go_on(steps: AsyncIterator[object]) -> None:
        async for _ in steps:
            await asyncio.sleep(0.005)  # a program that takes its time

    tasks = [asyncio.create_task(go_on(steps)) for steps in under_way]
    await pair[0].freeze()
    frozen_at = monotonic()
    await recorder(manager).wait_for(Failover, timeout=6)
    assert monotonic() - frozen_at < 3
    for conn in held:
        await conn.close()
        await manager.putconn(conn)
    await asyncio.wait(tasks)
