"""A cancelled query costs no slot in the pool and, if the server responds, no connection."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from orm_shop import Order
from pgmoor.sqlalchemy import create_async_engine
from support import until

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from orm_shop import Lent
    from pgmoor.testing import Cluster


async def by_timeout(work: Callable[[], Awaitable[None]]) -> None:
    async with asyncio.timeout(0.1):
        await work()


async def by_anyio(work: Callable[[], Awaitable[None]]) -> None:
    with anyio.fail_after(0.1):
        await work()


async def by_task(work: Callable[[], Awaitable[None]]) -> None:
    task = asyncio.ensure_future(work())
    await asyncio.sleep(0.1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    raise TimeoutError


async def backends(manager: Any) -> set[int]:
    """Return the backends of both of the manager's connections."""
    conns = [await manager.getconn() for _ in range(2)]
    found = {conn.info.backend_pid for conn in conns}
    for conn in conns:
        await manager.putconn(conn)
    return found


@pytest.mark.parametrize("way", [by_timeout, by_anyio, by_task])
async def test_a_cancelled_query_of_core_keeps_its_connection(
    lent: Lent, way: Callable[..., Any]
) -> None:
    before = await backends(lent.manager)

    async def work() -> None:
        async with lent.engine.connect() as conn:
            await conn.execute(text("insert into work (id) values ('x')"))
            await conn.execute(text("select pg_sleep(30)"))

    for _ in range(4):  # more often than there are connections
        with pytest.raises(TimeoutError):
            await way(work)

    await until(lambda: lent.used == 0)
    assert await backends(lent.manager) == before
    async with lent.engine.connect() as conn:
        assert await conn.scalar(text("select count(*) from work")) == 0


async def test_a_cancelled_query_of_a_session_keeps_its_connection(lent: Lent) -> None:
    before = await backends(lent.manager)
    session_of = async_sessionmaker(lent.engine)

    async def work() -> None:
        async with session_of.begin() as session:
            session.add(Order(customer="a"))
            await session.flush()
            await session.execute(text("select pg_sleep(30)"))

    for _ in range(4):
        with pytest.raises(TimeoutError):
            await by_timeout(work)

    await until(lambda: lent.used == 0)
    assert await backends(lent.manager) == before
    async with session_of() as session:
        assert (await session.scalars(select(Order))).all() == []


async def test_a_stream_cancelled_between_two_rows_keeps_its_connection(lent: Lent) -> None:
    before = await backends(lent.manager)
    rows = text("select i, pg_sleep(0.01) from generate_series(1, 100000) i")

    async def work() -> None:
        async with AsyncSession(lent.engine) as session:
            result = await session.stream(rows, execution_options={"yield_per": 1})
            async for _ in result:
                pass

    for _ in range(3):
        with pytest.raises(TimeoutError):
            await by_timeout(work)

    await until(lambda: lent.used == 0)
    assert await backends(lent.manager) == before


async def test_closing_a_cancelled_stream_later_does_not_touch_the_next_callers_transaction(
    lent: Lent,
) -> None:
    rows = text("select i, pg_sleep(0.05) from generate_series(1, 100000) i")
    conn = await lent.engine.connect()
    result = await conn.stream(rows, execution_options={"yield_per": 1})
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            async for _ in result:
                pass
    await until(lambda: lent.used == 0)
    held = [await lent.manager.getconn() for _ in range(2)]
    for other in held:
        await other.execute("insert into work (id) values ('x')")
    await result.close()
    await conn.close()

    for other in held:  # its transaction goes on, and is not aborted
        await other.execute("select 1")
        await lent.manager.putconn(other)


async def test_a_caller_cancelled_in_the_queue_costs_no_slot(lent: Lent) -> None:
    held = [await lent.engine.connect() for _ in range(2)]

    async def work() -> None:
        async with lent.engine.connect():
            pass

    with pytest.raises(TimeoutError):
        await by_timeout(work)
    for conn in held:
        await conn.close()
    assert lent.used == 0
    assert len(await backends(lent.manager)) == 2


async def test_a_cancelled_first_checkout_costs_no_slot(
    alone: Cluster, moor: Callable[..., Any], proxies: Callable[..., Any]
) -> None:
    # SQLAlchemy queries the server's version on the first connection; that query is cancelled.
    door = proxies(alone)[0]
    manager = await moor(door, min_size=2, max_size=2)
    await manager.wait()
    engine = create_async_engine(manager)
    door.delay(0.2)

    async def work() -> None:
        async with engine.connect():
            pass

    with pytest.raises(TimeoutError):
        await by_timeout(work)
    door.heal()
    await until(lambda: manager.snapshot().pool.used == 0)
    async with engine.connect() as conn:
        assert await conn.scalar(text("select 1")) == 1


async def test_a_query_cancelled_on_a_silent_server_takes_cancel_timeout_and_costs_no_slot(
    alone: Cluster, moor: Callable[..., Any], proxies: Callable[..., Any]
) -> None:
    door = proxies(alone)[0]
    manager = await moor(door, min_size=1, max_size=1, cancel_timeout=0.3)
    engine = create_async_engine(manager)
    began = 0.0
    with pytest.raises(TimeoutError):
        async with engine.connect() as conn:
            await conn.execute(text("select 1"))
            door.silent()
            began = monotonic()
            async with asyncio.timeout(0.1):
                await conn.execute(text("select 2"))
    taken = monotonic() - began
    door.heal()

    assert taken < 1.4, taken  # 0.4 s expected
    async with engine.connect() as conn:
        assert await conn.scalar(text("select 1")) == 1
    assert manager.snapshot().pool.used == 0
