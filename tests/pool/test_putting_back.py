"""A connection class whose `close()` puts the connection back works as with psycopg_pool."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg_pool import AsyncConnectionPool

from pgmoor import ConnectionManager
from support import until

if TYPE_CHECKING:
    from pgmoor.testing import Cluster


class PutsBack(psycopg.AsyncConnection[Any]):
    """As its documentation shows, for releases of psycopg_pool without `close_returns`."""

    async def close(self) -> None:
        if pool := getattr(self, "_pool", None):
            await pool.putconn(self)
        else:
            await super().close()


@pytest.mark.parametrize("kind", [AsyncConnectionPool, ConnectionManager])
async def test_its_close_gives_a_connection_back(kind: Any, alone: Cluster) -> None:
    resets: list[Any] = []

    async def reset(conn: Any) -> None:
        resets.append(conn)

    def seen(count: int) -> bool:
        return len(resets) == count

    made = kind(
        alone.conninfo(),
        connection_class=PutsBack,
        reset=reset,
        min_size=1,
        max_size=2,
        open=False,
    )
    async with made as pool:
        await pool.wait(5)
        for turn in range(1, 4):
            conn = await pool.getconn(5)
            await conn.execute("select 1")
            await conn.close()
            assert not conn.closed
            await until(partial(seen, turn))
        await until(lambda: pool.get_stats()["pool_available"] == 1)
        assert pool.get_stats()["pool_size"] == 1
        held = await pool.getconn(5)
    await held.close()
    await until(lambda: held.closed)


async def test_one_that_is_closed_after_its_return_is_replaced(alone: Cluster) -> None:
    async with ConnectionManager(
        alone.conninfo(), connection_class=PutsBack, min_size=1, max_size=1
    ) as manager:
        conn = await manager.getconn(5)
        await manager.putconn(conn)
        await conn.close()
        assert conn.closed
        async with manager.connection(timeout=5) as other:
            assert other is not conn
