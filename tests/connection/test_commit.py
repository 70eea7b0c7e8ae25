"""A session that ends before COMMIT is sent: its block does not end as if all was well."""

from __future__ import annotations

import select
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from pgmoor import CommitOutcomeUnknown, ConnectionAborted

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgmoor import ManagedConnection
    from pgmoor.testing import Cluster, FaultProxy


async def insert(conn: ManagedConnection) -> None:
    await conn.execute("insert into work (id) values ('x')")


def lose(door: FaultProxy, conn: ManagedConnection) -> None:
    door.reset()
    readable, _, _ = select.select([conn.pgconn.socket], [], [], 5)
    assert readable  # the reset has arrived


@pytest.mark.parametrize("how", ["block", "transaction", "nested"])
async def test_a_reset_before_commit_is_an_error_and_not_an_unknown_outcome(
    how: str, alone: Cluster, moor: Callable[..., Any], proxies: Callable[..., Any]
) -> None:
    (door,) = proxies(alone)
    manager = await moor(door, min_size=1, max_size=1)
    with pytest.raises(psycopg.OperationalError) as caught:
        async with manager.connection() as conn:
            if how == "transaction":
                async with conn.transaction():
                    await insert(conn)
                    lose(door, conn)
            elif how == "nested":
                await insert(conn)
                async with conn.transaction():
                    await insert(conn)
                    lose(door, conn)
            else:
                await insert(conn)
                lose(door, conn)

    assert not isinstance(caught.value, CommitOutcomeUnknown)
    assert await alone[0].sql("select id from work") == []


async def test_a_connection_that_was_cut_before_commit_says_so(
    alone: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(*alone, min_size=1, max_size=1)
    with pytest.raises(ConnectionAborted, match="db1 was aborted: the host was left"):
        async with manager.connection() as conn, conn.transaction():
            await insert(conn)
            conn.abort("db1", "the host was left")


async def test_a_block_that_is_rolled_back_anyway_ends_in_peace(
    alone: Cluster, moor: Callable[..., Any], proxies: Callable[..., Any]
) -> None:
    (door,) = proxies(alone)
    manager = await moor(door, min_size=1, max_size=1)
    async with manager.connection() as conn, conn.transaction(force_rollback=True):
        await insert(conn)
        lose(door, conn)

    assert await alone[0].sql("select id from work") == []
