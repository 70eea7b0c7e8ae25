"""A caller who is handed a connection that turns out dead is served next."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from pgmoor import ConnectionManager
from support import until

if TYPE_CHECKING:
    from pgmoor.testing import Cluster


async def test_a_caller_who_got_a_dead_connection_keeps_its_place(alone: Cluster) -> None:
    async with ConnectionManager(alone.conninfo(), min_size=1, max_size=1) as manager:
        held = await manager.getconn()
        served: list[int] = []

        async def caller(number: int) -> None:
            async with manager.connection() as conn:
                served.append(number)
                await conn.execute("select 1")

        callers = []
        for number in range(5):
            callers.append(asyncio.create_task(caller(number)))
            await until(lambda: manager.get_stats()["requests_waiting"] > number)  # noqa: B023
        # It dies on its way to the first of them: after it was found good, before it is tested.
        await manager.putconn(held)
        held.pgconn.finish()
        await asyncio.gather(*callers)

    assert served == [0, 1, 2, 3, 4]
