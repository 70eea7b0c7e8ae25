# pyright: strict, reportUnnecessaryTypeIgnoreComment=true
"""What a type checker knows, and an editor. mypy and pyright read this file, and it runs as well.

An error that is ignored here has to be one: the checkers report an unnecessary `type: ignore`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, assert_type

import pytest
from psycopg import AsyncConnection
from psycopg.rows import DictRow, TupleRow, dict_row
from psycopg_pool import AsyncConnectionPool

from pgmoor import ConfigError, ConnectionManager, State, Target

if TYPE_CHECKING:
    from pgmoor.sqlalchemy import create_async_engine
    from pgmoor.testing import Cluster

    def any_manager_has_an_engine(manager: ConnectionManager[AsyncConnection[DictRow]]) -> None:
        create_async_engine(manager)


class Shop(AsyncConnection[DictRow]):
    """A class of the program's own."""

    async def one(self) -> int:
        row = await (await self.execute("select 1 as one")).fetchone()
        assert row is not None
        return int(row["one"])


async def test_rows_are_tuples_by_default(alone: Cluster) -> None:
    async with ConnectionManager(alone.conninfo(), min_size=1) as manager:
        assert_type(manager, ConnectionManager[AsyncConnection[TupleRow]])
        async with manager.connection() as conn:
            assert_type(conn, AsyncConnection[TupleRow])
            row = await (await conn.execute("select 1")).fetchone()
            assert_type(row, TupleRow | None)
            assert row == (1,)


async def test_rows_are_what_the_connection_class_says(alone: Cluster) -> None:
    async with ConnectionManager(
        alone.conninfo(),
        min_size=1,
        connection_class=AsyncConnection[DictRow],
        kwargs={"row_factory": dict_row},
    ) as manager:
        assert_type(manager, ConnectionManager[AsyncConnection[DictRow]])
        assert_type(manager.connection_class, type[AsyncConnection[DictRow]])
        async with manager.connection() as conn:
            assert_type(conn, AsyncConnection[DictRow])
            row = await (await conn.execute("select 1 as one")).fetchone()
            assert_type(row, DictRow | None)
            assert row == {"one": 1}
        conn = await manager.getconn()
        assert_type(conn, AsyncConnection[DictRow])
        await manager.putconn(conn)
        async with manager.transaction() as conn:
            assert_type(conn, AsyncConnection[DictRow])
        async for attempt in manager.retrying():
            async with attempt as conn:
                assert_type(conn, AsyncConnection[DictRow])
        pool = manager.as_pool()
        assert_type(pool, AsyncConnectionPool[AsyncConnection[DictRow]])
        async with pool.connection() as conn:
            assert_type(conn, AsyncConnection[DictRow])
            assert await (await conn.execute("select 2 as two")).fetchone() == {"two": 2}


async def test_a_class_of_the_programs_own_keeps_its_methods(alone: Cluster) -> None:
    async def configure(conn: Shop) -> None:
        assert await conn.one() == 1
        await conn.commit()

    async with (
        ConnectionManager[Shop](
            alone.conninfo(),
            min_size=1,
            connection_class=Shop,
            kwargs={"row_factory": dict_row},
            configure=configure,
        ) as manager,
        manager.connection() as conn,
    ):
        assert_type(conn, Shop)
        assert await conn.one() == 1


async def test_words_and_enums_are_the_same(alone: Cluster) -> None:
    ConnectionManager("host=db1", target="prefer-standby")
    with pytest.raises(ConfigError):
        ConnectionManager("host=db1", target="primry")  # type: ignore[arg-type]
    with pytest.raises(ConfigError):
        ConnectionManager("host=db1", failback="never")  # type: ignore[arg-type]
    manager: ConnectionManager[Any] = ConnectionManager(
        alone.conninfo(), min_size=1, target=Target.PRIMARY
    )
    assert (await manager.health()).state == State.NEW
    async with manager:
        await manager.wait()
        health = await manager.health()
        assert health.state == State.READY
        assert health.state == "ready"
        assert f"{State.READY}" == "ready"
