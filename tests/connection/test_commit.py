"""A session that is lost around COMMIT: its block never ends as if all was well.

Before COMMIT was sent, nothing is committed. While its answer is missing, the outcome is unknown.
"""

from __future__ import annotations

import select
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from pgmoor import CommitOutcomeUnknown, ConnectionAborted, ManagedConnection
from pgmoor._core.connection.managed import managed

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgmoor.testing import Cluster, FaultProxy


async def insert(conn: ManagedConnection) -> None:
    await conn.execute("insert into work (id) values ('x')")


def lose(door: FaultProxy, conn: ManagedConnection) -> None:
    """Reset the connection, and wait until the client's side has noticed."""
    door.reset()
    readable, _, _ = select.select([conn.pgconn.socket], [], [], 5)
    assert readable


@pytest.mark.parametrize("how", ["block", "transaction", "nested"])
async def test_a_session_lost_before_commit_is_an_error_and_not_an_unknown_outcome(
    how: str, alone: Cluster, moor: Callable[..., Any], proxies: Callable[..., Any]
) -> None:
    (door,) = proxies(alone)
    manager = await moor(door, min_size=1, max_size=1)
    with pytest.raises(psycopg.OperationalError) as caught:
        async with manager.connection() as conn:
            if how != "transaction":
                await insert(conn)
            if how == "block":
                lose(door, conn)
            else:
                async with conn.transaction():
                    await insert(conn)
                    lose(door, conn)

    assert not isinstance(caught.value, CommitOutcomeUnknown)
    assert await alone[0].sql("select id from work") == []


async def test_a_connection_that_was_cut_before_commit_says_so(
    alone: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(*alone, min_size=1, max_size=1)
    place = f"127.0.0.1:{alone[0].port}"
    with pytest.raises(ConnectionAborted, match=f"{place} was aborted: the host was left"):
        async with manager.connection() as conn, conn.transaction():
            await insert(conn)
            conn.abort("the host was left")


async def test_a_cut_connection_says_so_where_commit_is_called(
    alone: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(*alone, min_size=1, max_size=1)
    with pytest.raises(ConnectionAborted, match="the host was left"):
        async with manager.connection() as conn:
            await insert(conn)
            conn.abort("the host was left")
            await conn.commit()


async def end(kind: str, cluster: Cluster, conn: ManagedConnection) -> None:
    """End a session in the middle of a transaction, and wait until the client's side is told."""
    match kind:
        case "terminated":
            await cluster[0].sql(f"select pg_terminate_backend({conn.info.backend_pid}, 5000)")
        case "fast shutdown":
            await cluster[0].stop("fast")
        case "idle in transaction for too long":
            await conn.execute("set idle_in_transaction_session_timeout = '1ms'")
    assert select.select([conn.pgconn.socket], [], [], 5)[0]


ENDS = {
    "terminated": psycopg.errors.AdminShutdown,
    "fast shutdown": psycopg.errors.AdminShutdown,
    "idle in transaction for too long": psycopg.errors.IdleInTransactionSessionTimeout,
}


@pytest.mark.parametrize("kind", ENDS)
@pytest.mark.parametrize("how", ["block", "commit", "transaction", "autocommit"])
async def test_an_end_that_the_server_announced_before_commit_is_raised_as_it_is(
    kind: str, how: str, alone: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(*alone, min_size=1, max_size=1)
    with pytest.raises(ENDS[kind]) as caught:
        async with manager.connection() as conn:
            if how == "autocommit":
                await conn.set_autocommit(True)
            if how in ("transaction", "autocommit"):
                async with conn.transaction():
                    await insert(conn)
                    await end(kind, alone, conn)
            else:
                await insert(conn)
                await end(kind, alone, conn)
                if how == "commit":
                    await conn.commit()

    assert caught.value.sqlstate in ("57P01", "25P03")
    assert conn.closed
    if kind == "fast shutdown":
        await alone[0].start()
    assert await alone[0].sql("select id from work") == []
    async with manager.connection(timeout=10) as conn:
        await insert(conn)
    assert await alone[0].sql("select id from work") == [("x",)]


async def test_a_block_that_would_be_rolled_back_ends_without_an_error(
    alone: Cluster, moor: Callable[..., Any], proxies: Callable[..., Any]
) -> None:
    (door,) = proxies(alone)
    manager = await moor(door, min_size=1, max_size=1)
    async with manager.connection() as conn, conn.transaction(force_rollback=True):
        await insert(conn)
        lose(door, conn)

    assert await alone[0].sql("select id from work") == []


@pytest.mark.parametrize("how", ["block", "commit", "transaction"])
async def test_a_commit_whose_answer_is_lost_has_an_unknown_outcome(
    how: str, alone: Cluster, moor: Callable[..., Any], proxies: Callable[..., Any]
) -> None:
    (door,) = proxies(alone)
    manager = await moor(door, min_size=1, max_size=1)
    with pytest.raises(CommitOutcomeUnknown):
        async with manager.connection() as conn:
            if how == "transaction":
                async with conn.transaction():
                    await insert(conn)
                    door.cut(after=3)
            else:
                await insert(conn)
                door.cut(after=3)
                if how == "commit":
                    await conn.commit()

    await alone[0].wait_for("select exists (select from work)")  # this one was carried out


def test_our_methods_win_over_those_of_the_users_connection_class() -> None:
    class Mine(psycopg.AsyncConnection[Any]):
        pass

    ours = managed(Mine)

    assert ours.__mro__.index(ManagedConnection) < ours.__mro__.index(Mine)
    assert managed(ours) is ours
