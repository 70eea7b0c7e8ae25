"""A connection that SQLAlchemy returns has the settings that it had before."""

from __future__ import annotations

import asyncio
import gc
from typing import TYPE_CHECKING, Any

import pytest
from psycopg import AsyncConnection
from psycopg.types.numeric import IntLoader
from sqlalchemy import event, text
from sqlalchemy.exc import OperationalError, SAWarning

from pgmoor import CommitOutcomeUnknown, NoHostAvailable, PoolExhausted
from pgmoor.sqlalchemy import CHANGED, create_async_engine
from support import until

if TYPE_CHECKING:
    from collections.abc import Callable

    from orm_shop import Lent
    from pgmoor import ConnectionManager
    from pgmoor.testing import Cluster

UNSEEN = ("_adapters", "_begin_statement")  # psycopg sets them on first use
READ_ONLY = {"postgresql_readonly": True}


class Doubling(IntLoader):
    """Reads each integer as its double."""

    def load(self, data: Any) -> int:
        return 2 * super().load(data)


async def look(manager: ConnectionManager) -> list[dict[str, Any]]:
    """Return the settings of both of the manager's connections."""
    conns = [await manager.getconn() for _ in range(2)]
    found = []
    for conn in conns:
        found.append({name: getattr(conn, name) for name in CHANGED if name not in UNSEEN})
        found[-1]["_notice_handlers"] = len(conn._notice_handlers)  # one is the connection's own
        await manager.putconn(conn)
    return found


async def test_notice_handlers_do_not_accumulate(lent: Lent) -> None:
    most = 0
    for _ in range(200):
        async with lent.engine.connect() as conn:
            raw = (await conn.get_raw_connection()).driver_connection
            assert isinstance(raw, AsyncConnection)
            most = max(most, len(raw._notice_handlers))

    assert most == 2
    assert [each["_notice_handlers"] for each in await look(lent.manager)] == [1, 1]


async def test_sqlalchemys_logger_logs_each_notice_once(
    lent: Lent, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "sqlalchemy.dialects.postgresql")
    async with lent.engine.connect() as conn:
        await conn.execute(text("do $$ begin raise notice 'mind the step'; end $$"))

    assert sum("mind the step" in line for line in caplog.messages) == 1


@pytest.mark.parametrize(
    ("options", "how"),
    [
        ({"isolation_level": "AUTOCOMMIT"}, "connection"),
        ({"isolation_level": "SERIALIZABLE"}, "connection"),
        (READ_ONLY, "connection"),
        (
            {"postgresql_deferrable": True, "isolation_level": "REPEATABLE READ"},
            "connection",
        ),
        (READ_ONLY, "engine"),
        (READ_ONLY, "in a transaction"),
    ],
)
async def test_execution_options_are_restored(
    lent: Lent, options: dict[str, Any], how: str
) -> None:
    before = await look(lent.manager)
    if how == "engine":
        async with lent.engine.execution_options(**options).connect() as conn:
            await conn.execute(text("select 1"))
    else:
        with pytest.raises(LookupError):
            async with lent.engine.connect() as conn:
                await conn.execution_options(**options)
                await conn.execute(text("select 1"))
                if how == "in a transaction":
                    await conn.execute(text("begin"))  # the connection returns in a transaction
                raise LookupError

    await until(lambda: lent.used == 0)
    assert await look(lent.manager) == before
    async with lent.manager.connection() as plain:
        await plain.execute("insert into work (id) values ('x')")
        cursor = await plain.execute("show transaction isolation level")
        assert await cursor.fetchone() == ("read committed",)


async def test_settings_made_by_event_listeners_are_restored(lent: Lent) -> None:
    before = await look(lent.manager)

    def listener(adapted: Any, _: Any) -> None:
        adapted.driver_connection.adapters.register_loader("int4", Doubling)
        adapted.driver_connection.prepare_threshold = 0

    event.listen(lent.engine.sync_engine, "connect", listener)
    for _ in range(2):
        async with lent.engine.connect() as conn:
            assert await conn.scalar(text("select 21::int4")) == 42
    async with lent.manager.connection() as plain:
        assert await (await plain.execute("select 21::int4")).fetchone() == (21,)
    assert await look(lent.manager) == before


async def test_settings_made_by_configure_hold_for_sqlalchemy(
    alone: Cluster, moor: Callable[..., Any]
) -> None:
    async def configure(conn: Any) -> None:
        conn.adapters.register_loader("int4", Doubling)
        await conn.set_read_only(True)

    manager = await moor(alone[0], min_size=1, max_size=1, configure=configure)
    engine = create_async_engine(manager)
    for _ in range(2):
        async with engine.connect() as conn:
            assert await conn.scalar(text("select 21::int4")) == 42
            assert await conn.scalar(text("show transaction_read_only")) == "on"


async def test_pool_errors_are_raised_as_operational_errors(
    alone: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(alone[0], min_size=1, max_size=1, timeout=0.2)
    engine = create_async_engine(manager)
    async with engine.connect():
        with pytest.raises(OperationalError, match="size 1 of 1, used 1") as full:
            await engine.connect()
    assert isinstance(full.value.orig, PoolExhausted)
    assert not full.value.connection_invalidated
    async with engine.connect() as conn:
        assert await conn.scalar(text("select 1")) == 1

    await alone[0].stop()
    with pytest.raises(OperationalError) as down:
        await engine.connect()
    assert isinstance(down.value.orig, NoHostAvailable)


async def test_a_disconnect_is_detected_and_the_next_checkout_works(lent: Lent) -> None:
    async with lent.engine.connect() as conn:
        pid = await conn.scalar(text("select pg_backend_pid()"))
        async with lent.engine.connect() as other:
            await other.execute(text(f"select pg_terminate_backend({pid}, 1000)"))
        with pytest.raises(OperationalError) as caught:
            await conn.execute(text("select 1"))
        assert caught.value.connection_invalidated
        assert conn.invalidated
        await conn.rollback()
        assert await conn.scalar(text("select 1")) == 1  # on another connection

    assert lent.used == 0


async def test_a_lost_commit_has_an_unknown_outcome(
    alone: Cluster, moor: Callable[..., Any], proxies: Callable[..., Any]
) -> None:
    door = proxies(alone)[0]
    engine = create_async_engine(await moor(door, min_size=1, max_size=1))
    async with engine.connect() as conn:
        await conn.execute(text("insert into work (id) values ('x')"))
        door.cut(after=1)
        with pytest.raises(OperationalError) as caught:
            await conn.commit()

    assert isinstance(caught.value.orig, CommitOutcomeUnknown)
    assert caught.value.connection_invalidated


async def test_invalidate_ends_the_session(lent: Lent) -> None:
    backend = text("select count(*) from pg_stat_activity where pid = :pid")
    async with lent.engine.connect() as conn:
        pid = await conn.scalar(text("select pg_backend_pid()"))
        await conn.invalidate()
        await conn.rollback()
        async with asyncio.timeout(10):
            while await conn.scalar(backend, {"pid": pid}):
                await conn.rollback()
    assert lent.used == 0


async def test_a_garbage_collected_connection_returns_to_the_pool(lent: Lent) -> None:
    conn = await lent.engine.connect()
    await conn.execute(text("insert into work (id) values ('x')"))
    assert lent.used == 1
    with pytest.warns(SAWarning, match="garbage collector"):  # noqa: PT031  both statements are needed
        del conn
        gc.collect()

    await until(lambda: lent.used == 0)
    async with lent.engine.connect() as again:
        assert await again.scalar(text("select count(*) from work")) == 0


async def test_closing_the_manager_before_the_engine_raises_operational_errors(lent: Lent) -> None:
    with pytest.raises(OperationalError, match="the manager is closed"):
        async with lent.engine.connect() as conn:
            await conn.execute(text("select 1"))
            await lent.manager.close(timeout=0.1)
    with pytest.raises(OperationalError, match="is closed"):
        await lent.engine.connect()
