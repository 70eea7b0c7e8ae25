"""What a checkout costs, tests and promises; on a real server."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg.rows import dict_row

from pgmoor import CommitOutcomeUnknown, ManagedConnection, TooManyRequests
from pgmoor._core.connection.managed import managed
from support import fill, hold, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgmoor.testing import Cluster


async def test_the_block_commits_or_rolls_back(alone: Cluster, moor: Callable[..., Any]) -> None:
    manager = await moor(*alone)
    async with manager.connection() as conn:
        await conn.execute("insert into work (id) values ('kept')")
    with pytest.raises(ZeroDivisionError):
        async with manager.connection() as conn:
            await conn.execute("insert into work (id) values ('dropped')")
            raise ZeroDivisionError

    assert await alone[0].sql("select id from work") == [("kept",)]


async def test_what_getconn_left_open_is_rolled_back(
    alone: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(*alone, min_size=1, max_size=1)
    conn = await manager.getconn()
    await conn.execute("insert into work (id) values ('dropped')")
    await manager.putconn(conn)

    async with manager.connection() as again:
        assert again is conn
        cursor = await again.execute("select count(*) from work")
        assert await cursor.fetchone() == (0,)


async def test_the_pool_grows_to_max_size_while_callers_wait_and_no_further(
    alone: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(*alone, min_size=1, max_size=3)
    conns = await hold(manager, 3)
    waiter = asyncio.create_task(manager.getconn())
    await until(lambda: manager.get_stats()["requests_waiting"] == 1)

    assert manager.get_stats()["pool_size"] == 3
    await manager.putconn(conns.pop())
    conns.append(await waiter)
    for conn in conns:
        await manager.putconn(conn)
    assert manager.get_stats()["pool_available"] == 3


async def test_callers_are_served_in_the_order_they_came(
    alone: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(*alone, min_size=1, max_size=1)
    served: list[int] = []

    async def caller(number: int) -> None:
        async with manager.connection():
            served.append(number)

    conn = await manager.getconn()
    tasks = []
    for number in range(20):
        tasks.append(asyncio.create_task(caller(number)))
        await asyncio.sleep(0)
    await manager.putconn(conn)
    await asyncio.gather(*tasks)

    assert served == list(range(20))


async def test_a_pool_without_minimum_makes_connections_on_demand(
    alone: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(*alone, min_size=0, max_size=2)
    await manager.wait_ready()
    assert manager.get_stats()["pool_size"] == 0

    await asyncio.gather(*(_select(manager) for _ in range(10)))

    assert 1 <= manager.get_stats()["pool_size"] <= 2


async def test_max_waiting_refuses_the_next_caller_at_once(
    alone: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(*alone, min_size=1, max_size=1, max_waiting=2)
    conn = await manager.getconn()
    waiters = [asyncio.create_task(manager.getconn()) for _ in range(2)]
    await until(lambda: manager.get_stats()["requests_waiting"] == 2)
    with pytest.raises(TooManyRequests, match="waiting 2"):
        await manager.getconn()
    for waiter in waiters:
        waiter.cancel()
    await manager.putconn(conn)


async def test_ten_dead_connections_cost_no_more_than_a_moment(
    alone: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(*alone, min_size=10, max_size=10)
    for conn in await fill(manager, 10):
        conn.abort("test", "cut by the test")
    began = monotonic()
    async with manager.connection() as conn:
        assert monotonic() - began < 0.3
        await conn.execute("select 1")


async def test_a_notice_on_an_idle_connection_does_not_condemn_it(
    alone: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(*alone, min_size=1, max_size=1)
    async with manager.connection() as conn:
        await conn.execute("listen chat")
    await alone[0].sql("notify chat, 'hello'")
    await until(lambda: conn.has_unread())

    async with manager.connection() as again:
        assert again is conn
        async for notify in again.notifies(timeout=1, stop_after=1):
            assert notify.payload == "hello"


async def test_a_connection_idle_for_long_is_pinged_and_a_fresh_one_is_not(
    alone: Cluster, moor: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    pinged: list[object] = []
    ping = ManagedConnection.ping

    async def spy(self: ManagedConnection, timeout: float) -> None:
        pinged.append(self)
        await ping(self, timeout)

    monkeypatch.setattr(ManagedConnection, "ping", spy)
    manager = await moor(*alone, min_size=1, max_size=1, validate_after=60)
    await fill(manager, 1)
    async with manager.connection() as conn:
        pass
    assert pinged == []

    conn.idle_since -= 61
    async with manager.connection() as again:
        assert again is conn
    assert pinged == [conn]


async def test_idle_connections_are_pinged_one_at_a_time(
    alone: Cluster, moor: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    at_once: list[int] = []
    pinged: set[object] = set()
    ping = ManagedConnection.ping

    async def spy(self: ManagedConnection, timeout: float) -> None:
        await ping(self, timeout)
        pinged.add(self)
        at_once.append(sum(c.idle_since > 0 for c in manager._runtime.queue.pool.connections))

    monkeypatch.setattr(ManagedConnection, "ping", spy)
    manager = await moor(*alone, min_size=4, max_size=4, keepalive_interval=0.1)
    conns = await fill(manager, 4)

    await until(lambda: pinged == set(conns), timeout=5)

    assert min(at_once) == 4  # none was taken away for good


async def test_keepalive_replaces_a_dead_connection_without_traffic(
    alone: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(*alone, min_size=2, max_size=2, keepalive_interval=0.1)
    dead, alive = await fill(manager, 2)
    dead.abort("test", "cut by the test")

    await until(lambda: dead not in manager._runtime.queue.pool.connections, timeout=5)
    await until(lambda: manager.get_stats()["pool_size"] == 2, timeout=5)

    assert alive in manager._runtime.queue.pool.connections


async def test_drain_renews_idle_connections_now_and_held_ones_on_return(
    alone: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(*alone, min_size=2, max_size=2)
    idle, held = await fill(manager, 2)
    conn = await manager.getconn()
    held = conn
    await manager.drain()
    await manager.putconn(held)
    again = await hold(manager, 2)
    for conn in again:
        await manager.putconn(conn)

    assert not {idle, held} & set(again)


async def test_an_expired_connection_is_replaced_on_return(
    alone: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(*alone, min_size=1, max_size=1, max_lifetime=0.05)
    conn = await manager.getconn()
    await until(lambda: monotonic() > conn.expires_at)
    waiter = asyncio.create_task(manager.getconn())
    await until(lambda: manager.get_stats()["requests_waiting"] == 1)
    await manager.putconn(conn)

    other = await waiter
    assert other is not conn
    await manager.putconn(other)


async def test_configure_and_reset_are_run_and_their_failures_survived(
    alone: Cluster, moor: Callable[..., Any]
) -> None:
    failures = ["once"]
    resets: list[object] = []

    async def configure(conn: psycopg.AsyncConnection[Any]) -> None:
        if failures:
            failures.pop()
            raise RuntimeError("configure failed")
        await conn.execute("set application_name = 'configured'")
        await conn.commit()

    async def reset(conn: psycopg.AsyncConnection[Any]) -> None:
        resets.append(conn)
        if len(resets) == 2:
            raise RuntimeError("reset failed")

    manager = await moor(*alone, min_size=1, max_size=1, configure=configure, reset=reset)
    for _ in range(4):
        async with manager.connection(timeout=5) as conn:
            cursor = await conn.execute("show application_name")
            assert await cursor.fetchone() == ("configured",)

    assert len(resets) >= 3


async def test_connection_class_and_connect_arguments_are_kept(
    alone: Cluster, moor: Callable[..., Any]
) -> None:
    class Mine(psycopg.AsyncConnection[Any]):
        def shout(self) -> str:
            return "mine"

    manager = await moor(
        *alone,
        connection_class=Mine,
        kwargs={"autocommit": True, "row_factory": dict_row, "application_name": "app"},
    )
    async with manager.connection() as conn:
        assert conn.shout() == "mine"
        assert conn.autocommit
        cursor = await conn.execute("show application_name")
        assert await cursor.fetchone() == {"application_name": "app"}
    assert managed(Mine).__mro__[1] is ManagedConnection


async def test_close_returns_gives_the_connection_back(
    alone: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(*alone, min_size=1, max_size=1, close_returns=True)
    conn = await manager.getconn()
    await conn.close()
    async with manager.connection(timeout=1) as again:
        assert again is conn
        await again.close()
    assert manager.get_stats()["pool_available"] == 1


async def test_putconn_refuses_what_is_not_held_or_not_its_own(
    alone: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(*alone)
    other = await moor(*alone)
    conn = await manager.getconn()
    with pytest.raises(ValueError, match="does not come from this manager"):
        await other.putconn(conn)
    await manager.putconn(conn)
    with pytest.raises(ValueError, match="given back already"):
        await manager.putconn(conn)
    async with await psycopg.AsyncConnection.connect(alone.conninfo()) as foreign:
        with pytest.raises(ValueError, match="does not come from this manager"):
            await manager.putconn(foreign)


@pytest.mark.parametrize("how", ["block", "commit", "transaction"])
async def test_a_commit_whose_answer_is_lost_is_called_unknown(
    how: str, alone: Cluster, moor: Callable[..., Any], proxies: Callable[..., Any]
) -> None:
    (door,) = proxies(alone)
    manager = await moor(door, min_size=1, max_size=1)
    with pytest.raises(CommitOutcomeUnknown) as caught:
        async with manager.connection() as conn:
            if how == "transaction":
                async with conn.transaction():
                    await conn.execute("insert into work (id) values ('x')")
                    door.cut(after=3)
            else:
                await conn.execute("insert into work (id) values ('x')")
                door.cut(after=3)
                if how == "commit":
                    await conn.commit()

    assert isinstance(caught.value, psycopg.OperationalError)
    await alone[0].wait_for("select exists (select from work)")  # here it was carried out


async def test_a_statement_that_fails_is_the_callers_and_not_an_unknown_commit(
    alone: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(*alone, min_size=1, max_size=1)
    with pytest.raises(psycopg.errors.DivisionByZero):
        async with manager.connection() as conn:
            await conn.execute("select 1/0")
    async with manager.connection() as again:
        assert again is conn


async def _select(manager: Any) -> None:
    async with manager.connection() as conn:
        await conn.execute("select 1")
