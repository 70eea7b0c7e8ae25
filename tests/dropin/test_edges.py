"""Edges that psycopg_pool's own tests try: the same for both classes."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg_pool import PoolTimeout

from support import until

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgmoor.testing import Cluster, FaultProxy
    from servers import Watched

Connection = psycopg.AsyncConnection[Any]


async def settled(pool: Any, available: int) -> None:
    """Wait until so many connections are idle; none is lost, and one works."""
    await until(lambda: pool.get_stats()["pool_available"] == available)
    stats = pool.get_stats()
    assert (stats["pool_size"], stats["requests_waiting"]) == (available, 0)
    async with pool.connection(timeout=5) as conn:
        assert await (await conn.execute("select 1")).fetchone() == (1,)


# -- callers ------------------------------------------------------------------------------------


async def test_two_checkouts_at_a_time_are_two_sessions_which_are_lent_again(
    pool: Callable[..., Any],
) -> None:
    made = await pool(min_size=2)
    async with made.connection() as first, made.connection() as second:
        pids = {first.info.backend_pid, second.info.backend_pid}
        assert len(pids) == 2
    with pytest.raises(ZeroDivisionError):
        async with made.connection() as conn:
            raise ZeroDivisionError
    async with made.connection() as conn:
        assert conn.info.backend_pid in pids


async def test_a_caller_whose_time_is_up_costs_neither_a_connection_nor_others_their_place(
    pool: Callable[..., Any],
) -> None:
    made = await pool(min_size=2)
    held = [await made.getconn(), await made.getconn()]
    served: list[float] = []

    async def caller(timeout: float) -> None:
        async with made.connection(timeout=timeout):
            served.append(timeout)

    tasks = [asyncio.create_task(caller(timeout)) for timeout in (5.1, 0.05, 5.2, 5.3)]
    with pytest.raises(PoolTimeout):
        await tasks[1]
    for conn in held:
        await made.putconn(conn)
    await asyncio.wait(tasks)

    assert sorted(served) == [5.1, 5.2, 5.3]
    await settled(made, 2)


async def test_callers_cancelled_while_they_wait_and_while_they_hold_cost_no_connection(
    pool: Callable[..., Any],
) -> None:
    made = await pool(min_size=3)
    await made.wait()
    got: list[Any] = []

    async def caller() -> None:
        async with made.connection() as conn:
            await conn.execute("select 1")
            got.append(conn)
            await asyncio.Event().wait()

    tasks = [asyncio.create_task(caller()) for _ in range(9)]
    await until(lambda: len(got) == 3 and made.get_stats()["requests_waiting"] == 6)
    for task in reversed(tasks):
        task.cancel()
    await asyncio.wait(tasks)

    assert all(task.cancelled() for task in tasks)
    await settled(made, 3)


# -- callbacks and connections that misbehave ---------------------------------------------------


async def test_a_check_that_is_cancelled_ends_that_caller_alone(
    pool: Callable[..., Any], pool_class: Any
) -> None:
    cancelled: list[Connection] = []

    async def check(conn: Connection) -> None:
        if not cancelled:
            cancelled.append(conn)
            raise asyncio.CancelledError
        await pool_class.check_connection(conn)

    made = await pool(min_size=1, max_size=1, check=check)
    with pytest.raises(asyncio.CancelledError):
        await made.getconn(timeout=5)
    await settled(made, 1)


async def test_a_rollback_that_is_cancelled_or_fails_costs_at_most_the_connection(
    pool: Callable[..., Any],
) -> None:
    class Fails(Connection):
        how: str = ""

        async def rollback(self) -> None:
            how, type(self).how = type(self).how, ""
            if how == "cancelled":
                raise asyncio.CancelledError
            if how == "broken":
                self.pgconn.finish()
            await super().rollback()

    made = await pool(min_size=1, max_size=1, connection_class=Fails)
    for how in ("cancelled", "broken"):
        with pytest.raises((psycopg.errors.SyntaxError, asyncio.CancelledError)):
            async with made.connection(timeout=5) as conn:
                type(conn).how = how
                await conn.execute("selexx 1")
        await settled(made, 1)
        conn = await made.getconn(timeout=5)
        with pytest.raises(psycopg.errors.SyntaxError):
            await conn.execute("selexx 1")
        type(conn).how = "broken"
        await made.putconn(conn)
        await settled(made, 1)


async def test_what_goes_wrong_in_configure_and_reset_is_logged(
    pool: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(conn: Connection) -> None:
        async with conn.transaction():
            await conn.execute("selexx 1")

    async def leaves_open(conn: Connection) -> None:
        await conn.execute("select 1")

    def warnings() -> list[str]:
        return [record.message for record in caplog.records if record.levelno >= logging.WARNING]

    for callback, said in ((broken, "selexx|SyntaxError"), (leaves_open, "INTRANS|transaction")):
        caplog.clear()
        made = await pool(min_size=1, configure=callback)
        with pytest.raises(PoolTimeout):
            await made.getconn(timeout=0.3)
        await made.close()
        assert any(word in "".join(warnings()) for word in said.split("|")), warnings()

        caplog.clear()
        made = await pool(min_size=1, reset=callback)
        async with made.connection():
            pass
        await settled(made, 1)
        assert any(word in "".join(warnings()) for word in said.split("|")), warnings()


# -- check() ------------------------------------------------------------------------------------


async def test_check_replaces_what_was_closed_or_is_too_old_and_leaves_the_rest_at_rest(
    pool: Callable[..., Any],
) -> None:
    made = await pool(min_size=2, max_lifetime=3600)
    async with made.connection() as closed, made.connection() as sound:
        pass
    await closed.close()
    await made.check()
    await settled(made, 2)
    async with made.connection() as first, made.connection() as second:
        assert closed not in (first, second)
        assert sound in (first, second)
        assert {conn.info.transaction_status.name for conn in (first, second)} == {"IDLE"}

    made = await pool(min_size=1, max_size=1, max_lifetime=0.1)
    async with made.connection() as old:
        pass
    await asyncio.sleep(0.12)  # it has to grow old
    await made.check()
    async with made.connection(timeout=5) as conn:
        assert conn is not old


# -- opening, closing, outages ------------------------------------------------------------------


async def test_opening_and_waiting_again_change_nothing(
    pool: Callable[..., Any], watched: Watched
) -> None:
    made = await pool(min_size=2)
    await made.wait(timeout=5)
    before = await watched.pids()
    await made.open()
    await made.open(wait=True, timeout=5)
    await made.wait(timeout=0.01)

    assert not made.closed
    assert await watched.pids() == before


async def test_a_closed_pool_leaves_no_task(make: Callable[..., Any], pool_class: Any) -> None:
    before = asyncio.all_tasks()
    made = make(pool_class, min_size=2)
    await made.open()
    async with made.connection(timeout=5):
        pass
    await made.close()

    await until(lambda: asyncio.all_tasks() <= before)


async def test_a_pool_may_be_closed_by_who_holds_a_connection(pool: Callable[..., Any]) -> None:
    made = await pool(min_size=2)
    async with asyncio.timeout(3):
        async with made.connection() as conn:
            await made.close()
    assert conn.closed


async def test_debug_logging_of_everything_holds_nothing_up(
    pool: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    made = await pool(min_size=4)
    await made.wait(timeout=5)
    await settled(made, 4)


async def test_after_an_outage_a_caller_is_served_and_the_pool_filled_again(
    alone: Cluster,
    proxies: Callable[..., list[FaultProxy]],
    make: Callable[..., Any],
    pool_class: Any,
) -> None:
    (door,) = proxies(alone)
    door.refuse()
    failed = asyncio.Event()
    made = make(
        pool_class,
        conninfo=f"host={door.host} port={door.port} user=postgres dbname=postgres",
        min_size=4,
        reconnect_timeout=0.3,
        reconnect_failed=lambda _: failed.set(),
    )
    await made.open()
    async with asyncio.timeout(5):
        await failed.wait()
    with pytest.raises(PoolTimeout):
        await made.getconn(timeout=0.2)
    door.heal()

    async with made.connection(timeout=10) as conn:
        await conn.execute("select 1")
    await made.wait(timeout=10)
    await settled(made, 4)
