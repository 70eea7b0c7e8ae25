"""Core, ORM and sessions work as with SQLAlchemy's own pool."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from psycopg import AsyncRawCursor
from psycopg.rows import dict_row
from sqlalchemy import bindparam, cast, func, insert, literal_column, select, text
from sqlalchemy.dialects.postgresql import HSTORE
from sqlalchemy.ext.asyncio import async_sessionmaker
from sqlalchemy.pool import NullPool
from sqlalchemy.schema import MetaData
from sqlalchemy.types import Text

from orm_shop import Base, Lent, Order
from pgmoor import ConfigError
from pgmoor.sqlalchemy import create_async_engine

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from pgmoor.testing import Cluster


async def test_core_inserts_and_selects(lent: Lent) -> None:
    async with lent.engine.begin() as conn:
        await conn.execute(insert(Order), [{"customer": "a"}, {"customer": "b"}])
    async with lent.engine.connect() as conn:
        found = (await conn.scalars(select(Order.customer).order_by(Order.id))).all()
        assert lent.used == 1

    assert found == ["a", "b"]
    assert lent.used == 0
    assert isinstance(lent.engine.pool, NullPool)


async def test_a_session_keeps_its_objects_types_and_identity(lent: Lent) -> None:
    session_of = async_sessionmaker(lent.engine, expire_on_commit=False)
    async with session_of.begin() as session:
        order = Order(customer="a", sizes=[3, 4], notes={"gift": True, "to": ["x"]})
        session.add(order)
    async with session_of() as session:
        again = await session.get_one(Order, order.id)
        assert await session.scalar(select(Order)) is again

    assert (again.sizes, again.notes) == ([3, 4], {"gift": True, "to": ["x"]})
    assert lent.used == 0


async def test_an_exception_rolls_back_and_returns_the_connection(lent: Lent) -> None:
    session_of = async_sessionmaker(lent.engine)
    with pytest.raises(LookupError):
        async with session_of.begin() as session:
            session.add(Order(customer="a"))
            await session.flush()
            raise LookupError

    async with session_of() as session:
        assert (await session.scalars(select(Order))).all() == []
    assert lent.used == 0


async def test_a_savepoint_rolls_back_alone(lent: Lent) -> None:
    session_of = async_sessionmaker(lent.engine)
    async with session_of.begin() as session:
        session.add(Order(customer="a"))
        with pytest.raises(LookupError):
            async with session.begin_nested():
                session.add(Order(customer="b"))
                await session.flush()
                raise LookupError
        async with session.begin_nested():
            session.add(Order(customer="c"))

    async with lent.engine.connect() as conn:
        found = (await conn.scalars(select(Order.customer).order_by(Order.customer))).all()
    assert found == ["a", "c"]


async def test_run_sync_reflects_tables(lent: Lent) -> None:
    async with lent.engine.connect() as conn:
        reflected = MetaData()
        await conn.run_sync(reflected.reflect)

    assert set(reflected.tables["orders"].columns.keys()) == {"id", "customer", "sizes", "notes"}
    assert Base.metadata.tables["orders"].columns.keys()


async def test_stream_yields_all_rows(lent: Lent) -> None:
    async with lent.engine.connect() as conn:
        numbers = text("select i from generate_series(1, 2500) i")
        result = await conn.stream(numbers, execution_options={"yield_per": 100})
        total = 0
        async for (number,) in result:
            total += number

    assert total == 2500 * 2501 // 2
    assert lent.used == 0


async def test_a_stream_that_is_abandoned_holds_no_connection(lent: Lent) -> None:
    for _ in range(4):  # more often than there are connections
        async with lent.engine.connect() as conn:
            result = await conn.stream(text("select i from generate_series(1, 100000) i"))
            async for _row in result:
                break

    assert lent.used == 0


@pytest.fixture
async def hstore(alone: Cluster) -> AsyncIterator[Cluster]:
    """A server with a type of this name, as the bundled servers lack the extension.

    It serves to test whether values of its OID are written and read as dictionaries.
    """
    await alone[0].sql("create type hstore")
    functions = [
        ("hstore_in(cstring) returns hstore", "textin"),
        ("hstore_out(hstore) returns cstring", "textout"),
        ("hstore_recv(internal) returns hstore", "bytearecv"),
        ("hstore_send(hstore) returns bytea", "byteasend"),
    ]
    for signature, body in functions:
        await alone[0].sql(
            f"create function {signature} language internal immutable strict as '{body}'"
        )
    await alone[0].sql(
        "create type hstore (input=hstore_in, output=hstore_out,"
        " receive=hstore_recv, send=hstore_send, like=text)"
    )
    yield alone
    await alone[0].sql("drop type hstore cascade")


async def test_hstore_and_json_functions_work_on_every_connection(
    hstore: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(hstore[0], min_size=2, max_size=2)
    engine = create_async_engine(
        manager,
        json_deserializer=lambda data: json.loads(data, parse_float=Decimal),
        json_serializer=lambda value: json.dumps(value, default=str),
    )
    async with engine.connect() as one, engine.connect() as two:
        for conn in (one, two):
            read = literal_column("""'"a"=>"1", "b"=>NULL'::hstore""", HSTORE)
            assert await conn.scalar(select(read)) == {"a": "1", "b": None}
            written = bindparam("of", {"a": "1"}, HSTORE)
            kind = select(cast(func.pg_typeof(written), Text))
            assert await conn.scalar(kind) == "hstore"
            got = await conn.scalar(text("select '{\"sum\": 1.10}'::jsonb"))
            assert got == {"sum": Decimal("1.10")}

    async with manager.connection() as plain:  # other callers get psycopg's types
        cursor = await plain.execute("select '{\"sum\": 1.5}'::jsonb, 'a=>1'::hstore")
        assert await cursor.fetchone() == ({"sum": 1.5}, "a=>1")


async def test_native_inet_types_can_be_switched_off(
    alone: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(alone[0], min_size=1, max_size=1)
    engine = create_async_engine(manager, native_inet_types=False)
    async with engine.connect() as conn:
        assert await conn.scalar(text("select '10.0.0.1'::inet")) == "10.0.0.1"


async def test_a_manager_with_other_factories_and_autocommit_serves_sqlalchemy(
    alone: Cluster, moor: Callable[..., Any]
) -> None:
    async def configure(conn: Any) -> None:
        conn.cursor_factory = AsyncRawCursor

    manager = await moor(
        alone[0],
        min_size=1,
        max_size=1,
        kwargs={"autocommit": True, "row_factory": dict_row},
        configure=configure,
    )
    engine = create_async_engine(manager)
    with pytest.raises(LookupError):
        async with engine.begin() as conn:
            await conn.execute(text("insert into work (id) values (:id)"), {"id": "x"})
            raise LookupError  # so nothing is committed

    async with manager.connection() as raw:
        assert raw.autocommit
        cursor = await raw.execute("select count(*) as n from work where id = $1", ["x"])
        assert await cursor.fetchone() == {"n": 0}


async def test_engines_on_one_manager_have_their_own_isolation_levels(lent: Lent) -> None:
    strict = create_async_engine(lent.manager, isolation_level="SERIALIZABLE")
    show = text("show transaction isolation level")
    for _ in range(3):
        async with strict.connect() as conn:
            assert await conn.scalar(show) == "serializable"
        async with lent.engine.connect() as conn:
            assert await conn.scalar(show) == "read committed"
    assert lent.used == 0


async def test_arguments_that_belong_to_the_manager_are_rejected(lent: Lent) -> None:
    pool = ["pool_size", "max_overflow", "pool_pre_ping", "pool_recycle", "poolclass", "creator"]
    for name in pool:
        with pytest.raises(ConfigError, match="the manager owns the pool") as caught:
            create_async_engine(lent.manager, **{name: 1})
        assert caught.value.setting == name


async def test_dispose_leaves_the_manager_and_the_engine_usable(lent: Lent) -> None:
    await lent.engine.dispose()
    assert not lent.manager.closed
    async with lent.engine.connect() as conn:
        assert await conn.scalar(text("select 1")) == 1
