"""Callbacks, classes and callables that a program gives: the same for both classes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import DictRow, dict_row
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


async def test_configure_is_called_once_with_each_new_connection(
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


async def test_a_configure_that_leaves_a_transaction_open_is_an_error(
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


async def test_a_broken_connection_fails_check_and_is_replaced(
    pool: Callable[..., Any], watched: Watched, pool_class: Any
) -> None:
    made = await pool(min_size=1, check=pool_class.check_connection)
    async with made.connection() as conn:
        pass
    await watched.end(conn.info.backend_pid)
    async with made.connection(timeout=5) as again:
        assert again is not conn
        await again.execute("select 1")


async def test_a_check_that_queries_the_server_need_not_end_its_transaction(
    pool: Callable[..., Any],
) -> None:
    async def check(conn: Connection) -> None:
        await conn.execute("select 1")

    made = await pool(min_size=1, max_size=1, check=check)
    for _ in range(3):
        assert await one_row(made, "select 2") == (2,)


async def test_check_connection_tells_a_working_connection_from_a_broken_one(
    pool: Callable[..., Any], watched: Watched, pool_class: Any
) -> None:
    for autocommit in (False, True):
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


async def test_a_reset_that_fails_costs_the_connection(pool: Callable[..., Any]) -> None:
    async def raises(_: Connection) -> None:
        raise RuntimeError

    async def leaves_a_transaction_open(conn: Connection) -> None:
        await conn.execute("select 1")

    for reset in (raises, leaves_a_transaction_open):
        made = await pool(min_size=1, max_size=1, reset=reset)
        async with made.connection() as conn:
            pass
        async with made.connection(timeout=2) as again:
            assert again is not conn


async def test_connections_have_the_given_class_and_arguments(
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


async def test_a_class_may_connect_in_its_own_way(
    pool: Callable[..., Any], watched: Watched
) -> None:
    seen: list[tuple[str, dict[str, Any]]] = []

    class Own(Connection):
        @classmethod
        async def connect(cls, conninfo: str = "", **kwargs: Any) -> Any:
            seen.append((conninfo, dict(kwargs)))
            size = kwargs.pop("size")  # a keyword of its own
            kwargs["options"] = f"{kwargs['options']} -c work_mem={size}"
            conn = await super().connect(conninfo, **kwargs)
            await conn.execute("set lock_timeout = 123")  # and leaves a transaction open
            return conn

    arguments = {"size": "123kB", "options": "-c jit=off", "row_factory": dict_row}
    made = await pool(
        min_size=1, max_size=1, configure=None, connection_class=Own, kwargs=arguments
    )
    for query, answer in (
        ("show work_mem", {"work_mem": "123kB"}),
        ("show jit", {"jit": "off"}),
        ("show lock_timeout", {"lock_timeout": "123ms"}),
    ):
        assert await one_row(made, query) == answer
    given = conninfo_to_dict(watched.conninfo)
    for conninfo, keywords in seen:
        assert {**conninfo_to_dict(conninfo), **given} == conninfo_to_dict(conninfo)
        assert keywords == arguments


async def test_a_generic_alias_is_a_connection_class(pool: Callable[..., Any]) -> None:
    alias = psycopg.AsyncConnection[DictRow]
    made = await pool(min_size=1, connection_class=alias, kwargs={"row_factory": dict_row})
    assert await one_row(made, "select 1 as one") == {"one": 1}


async def test_a_function_may_stand_in_place_of_psycopgs_connect(
    pool: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    original = psycopg.AsyncConnection.connect

    async def traced(*args: Any, **kwargs: Any) -> Any:
        return await original(*args, **kwargs)

    monkeypatch.setattr(psycopg.AsyncConnection, "connect", traced)
    made = await pool(min_size=1)
    assert await one_row(made, "select 1") == (1,)


@pytest.mark.parametrize("setting", ["conninfo", "kwargs"])
async def test_conninfo_and_kwargs_may_be_functions_and_coroutine_functions(
    setting: str, pool: Callable[..., Any], watched: Watched
) -> None:
    value: Any = watched.conninfo
    if setting == "kwargs":
        value = {"options": "-c work_mem=123kB", "autocommit": True}
    called: list[str] = []

    def function() -> Any:
        called.append("function")
        return value

    async def coroutine_function() -> Any:
        called.append("coroutine function")
        return value

    for given in (function, coroutine_function):
        made = await pool(min_size=1, **{setting: given})
        async with made.connection(timeout=5) as conn:
            assert conn.autocommit is (setting == "kwargs")
    assert set(called) == {"function", "coroutine function"}


async def test_reconnect_failed_is_called_with_the_pool_after_reconnect_timeout(
    make: Callable[..., Any], pool_class: Any
) -> None:
    called: list[Any] = []

    async def coroutine_function(pool: Any) -> None:
        called.append(pool)

    pools: list[Any] = []
    for callback in (called.append, coroutine_function):
        pool = make(
            pool_class,
            conninfo=NO_SERVER,
            min_size=1,
            reconnect_timeout=0.2,
            reconnect_failed=callback,
        )
        await pool.open()
        seconds = await until(lambda: len(called) > len(pools))
        pools.append(getattr(pool, "_manager", pool))

        assert called == pools
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


async def test_num_workers_limits_how_many_connections_are_made_at_a_time(
    pool: Callable[..., Any],
) -> None:
    at_work, most = 0, 0

    async def configure(_: Connection) -> None:
        nonlocal at_work, most
        at_work += 1
        most = max(most, at_work)
        await asyncio.sleep(0.02)  # another may begin
        at_work -= 1

    made = await pool(min_size=4, num_workers=2, configure=configure)
    await made.wait(timeout=5)

    assert most == 2
