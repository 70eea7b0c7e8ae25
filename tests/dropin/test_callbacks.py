"""What a program hands over to the pool, and when it is called: the same for both classes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg.rows import dict_row
from psycopg_pool import PoolTimeout

from servers import NO_SERVER
from support import until

if TYPE_CHECKING:
    from collections.abc import Callable

    from servers import Watched

Connection = psycopg.AsyncConnection[Any]


async def one_row(pool: Any, query: str) -> Any:
    async with pool.connection(timeout=5) as conn:
        cursor = await conn.execute(query)
        return await cursor.fetchone()


async def test_configure_is_called_with_each_new_connection_and_no_other(
    pool: Callable[..., Any],
) -> None:
    configured: list[Connection] = []

    async def configure(conn: Connection) -> None:
        configured.append(conn)
        await conn.execute("set application_name = 'configured'")
        await conn.commit()

    made = await pool(min_size=2, configure=configure)
    await made.wait()
    for _ in range(5):
        assert await one_row(made, "show application_name") == ("configured",)
    assert len(configured) == 2
    await made.drain()
    await until(lambda: len(configured) == 4)


async def test_a_configure_that_leaves_a_transaction_open_gives_no_connection(
    pool: Callable[..., Any],
) -> None:
    async def configure(conn: Connection) -> None:
        await conn.execute("select 1")

    made = await pool(min_size=1, configure=configure)
    with pytest.raises(PoolTimeout):
        await made.getconn(timeout=0.3)


async def test_check_is_called_at_each_checkout(pool: Callable[..., Any]) -> None:
    checked: list[Connection] = []

    async def check(conn: Connection) -> None:
        checked.append(conn)

    made = await pool(min_size=1, check=check)
    for _ in range(3):
        async with made.connection() as conn:
            pass
    assert checked == [conn] * 3


async def test_a_connection_that_fails_check_and_breaks_is_replaced(
    pool: Callable[..., Any], watched: Watched, pool_class: Any
) -> None:
    made = await pool(min_size=1, check=pool_class.check_connection)
    async with made.connection() as conn:
        pass
    await watched.end(conn.info.backend_pid)
    async with made.connection(timeout=5) as again:
        assert again is not conn
        await again.execute("select 1")


async def test_a_check_that_asks_the_server_need_not_end_its_transaction(
    pool: Callable[..., Any],
) -> None:
    async def check(conn: Connection) -> None:
        await conn.execute("select 1")

    made = await pool(min_size=1, max_size=1, check=check)
    for _ in range(3):
        assert await one_row(made, "select 2") == (2,)


@pytest.mark.parametrize("autocommit", [False, True])
async def test_check_connection_tells_a_sound_connection_from_a_broken_one(
    autocommit: bool, pool: Callable[..., Any], watched: Watched, pool_class: Any
) -> None:
    made = await pool(min_size=1, kwargs={"autocommit": autocommit})
    async with made.connection() as conn:
        await pool_class.check_connection(conn)
        assert conn.autocommit is autocommit
        await watched.end(conn.info.backend_pid)
        with pytest.raises(psycopg.OperationalError):
            await pool_class.check_connection(conn)


async def test_reset_is_called_on_return_after_the_rollback(
    pool: Callable[..., Any], watched: Watched
) -> None:
    seen: list[Any] = []

    async def reset(conn: Connection) -> None:
        seen.append(conn.info.transaction_status.name)
        await conn.execute("insert into work (id) values ('reset')")
        await conn.commit()

    made = await pool(min_size=1, max_size=1, reset=reset)
    conn = await made.getconn()
    await conn.execute("insert into work (id) values ('dropped')")
    await made.putconn(conn)
    async with made.connection(timeout=2) as again:
        assert again is conn
        assert seen == ["IDLE"]
    await until(lambda: len(seen) == 2)
    await watched.node.wait_for("select count(*) = 2 from work where id = 'reset'")
    assert await watched.node.sql("select count(*) from work") == [(2,)]


@pytest.mark.parametrize("fault", ["raises", "leaves a transaction open"])
async def test_a_reset_that_fails_costs_the_connection(
    fault: str, pool: Callable[..., Any]
) -> None:
    async def reset(conn: Connection) -> None:
        if fault == "raises":
            raise RuntimeError
        await conn.execute("select 1")

    made = await pool(min_size=1, max_size=1, reset=reset)
    async with made.connection() as conn:
        pass
    async with made.connection(timeout=2) as again:
        assert again is not conn


async def test_connections_are_of_the_given_class_and_with_the_given_arguments(
    pool: Callable[..., Any],
) -> None:
    class Mine(Connection):
        def greet(self) -> str:
            return "mine"

    arguments = {"row_factory": dict_row, "autocommit": True, "options": "-c work_mem=123kB"}
    made = await pool(min_size=1, connection_class=Mine, kwargs=arguments)
    assert await one_row(made, "show work_mem") == {"work_mem": "123kB"}
    async with made.connection() as conn:
        assert isinstance(conn, Mine)
        assert conn.greet() == "mine"
        assert conn.autocommit


@pytest.mark.parametrize("kind", ["value", "function", "coroutine function"])
@pytest.mark.parametrize("setting", ["conninfo", "kwargs"])
async def test_conninfo_and_kwargs_may_be_callables(
    setting: str, kind: str, pool: Callable[..., Any], watched: Watched
) -> None:
    value: Any = watched.conninfo
    if setting == "kwargs":
        value = {"options": "-c work_mem=123kB", "autocommit": True}
    asked: list[str] = []

    def function() -> Any:
        asked.append(setting)
        return value

    async def coroutine_function() -> Any:
        return function()

    given = {"value": value, "function": function, "coroutine function": coroutine_function}[kind]
    made = await pool(min_size=1, **{setting: given})
    async with made.connection(timeout=5) as conn:
        assert conn.autocommit is (setting == "kwargs")
    assert bool(asked) is (kind != "value")


@pytest.mark.parametrize("kind", ["function", "coroutine function"])
async def test_reconnect_failed_is_called_with_the_pool_after_reconnect_timeout(
    kind: str, make: Callable[..., Any], pool_class: Any
) -> None:
    told: list[Any] = []

    async def coroutine_function(pool: Any) -> None:
        told.append(pool)

    pool = make(
        pool_class,
        conninfo=NO_SERVER,
        min_size=1,
        reconnect_timeout=0.2,
        reconnect_failed=told.append if kind == "function" else coroutine_function,
    )
    await pool.open()
    seconds = await until(lambda: bool(told))

    assert told == [pool]
    assert 0.15 < seconds < 3


async def test_reconnect_failed_may_close_the_pool(
    make: Callable[..., Any], pool_class: Any
) -> None:
    closed = asyncio.Event()

    async def end(pool: Any) -> None:
        await pool.close(timeout=1)
        closed.set()

    pool = make(
        pool_class, conninfo=NO_SERVER, min_size=1, reconnect_timeout=0.1, reconnect_failed=end
    )
    await pool.open()
    async with asyncio.timeout(5):
        await closed.wait()

    assert pool.closed


@pytest.mark.parametrize("workers", [1, 2])
async def test_num_workers_connections_are_made_at_a_time(
    workers: int, pool: Callable[..., Any]
) -> None:
    at_work, most = 0, 0

    async def configure(_: Connection) -> None:
        nonlocal at_work, most
        at_work += 1
        most = max(most, at_work)
        await asyncio.sleep(0.02)  # so that another may begin
        at_work -= 1

    made = await pool(min_size=4, num_workers=workers, configure=configure)
    await made.wait(timeout=5)

    assert most == workers
