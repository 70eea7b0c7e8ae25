"""Units of work of the ORM continue after their primary is killed or falls silent."""

from __future__ import annotations

import asyncio
import itertools
from time import monotonic
from typing import TYPE_CHECKING, Any, Self

from sqlalchemy import select
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.ext.asyncio import async_sessionmaker

from orm_shop import Base, Order
from pgmoor import CommitOutcomeUnknown, ConnectionAborted
from pgmoor.events import Failover
from pgmoor.sqlalchemy import create_async_engine
from support import recorder, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.ext.asyncio import AsyncEngine

    from pgmoor.testing import Cluster


class Shops:
    """Tasks that place orders with the ORM, one transaction each, and record the outcomes."""

    def __init__(self, engine: AsyncEngine, tasks: int = 8) -> None:
        self.session_of = async_sessionmaker(engine)
        self.placed: dict[str, float] = {}
        self.failed: list[DBAPIError] = []
        self._latest = [0.0] * tasks

    async def __aenter__(self) -> Self:
        self._tasks = [
            asyncio.create_task(self._serve(number)) for number in range(len(self._latest))
        ]
        await self.flowing(monotonic())
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks, timeout=5)
        assert all(task.cancelled() for task in self._tasks)

    async def _serve(self, number: int) -> None:
        for count in itertools.count():
            customer, began = f"{number}-{count}", monotonic()
            try:
                async with self.session_of.begin() as session:
                    session.add(Order(customer=customer, sizes=[count]))
                    await session.flush()
                    await asyncio.sleep(0.02)  # so that some are always in flight
                    assert await session.scalar(select(Order.id).where(Order.customer == customer))
            except DBAPIError as error:
                self.failed.append(error)
            else:
                self.placed[customer] = self._latest[number] = began

    async def flowing(self, since: float) -> float:
        """Wait until every task has committed an order that it began after *since*."""
        await until(lambda: min(self._latest) > since, 20)
        return monotonic()


async def prepare(engine: AsyncEngine, pair: Cluster) -> None:
    async with engine.begin() as conn:
        await conn.run_sync(Base.metadata.drop_all)
        await conn.run_sync(Base.metadata.create_all)
    await pair[1].wait_for("select to_regclass('orders') is not null")


async def test_orders_continue_after_the_primary_is_killed(
    pair: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(*pair, max_size=4)
    engine = create_async_engine(manager)
    await prepare(engine, pair)
    async with Shops(engine) as shops:
        await pair[0].kill()
        await pair[1].promote()
        writable = monotonic()
        back = await shops.flowing(writable) - writable
        await shops.flowing(monotonic())

    assert back < 2, back  # 0.2 s expected
    assert 0 < len(shops.failed) <= 4, shops.failed  # in flight: at most the whole pool
    for error in shops.failed:
        assert isinstance(error, OperationalError)
        assert error.connection_invalidated, error
    written = {customer for (customer,) in await pair[1].sql("select customer from orders")}
    assert {key for key, began in shops.placed.items() if began > writable} <= written
    await recorder(manager).wait_for(Failover)
    assert manager.snapshot().pool.used == 0


async def test_orders_continue_after_the_primary_falls_silent(
    pair: Cluster, moor: Callable[..., Any], proxies: Callable[..., Any]
) -> None:
    doors = proxies(pair)
    manager = await moor(*doors, max_size=4)
    engine = create_async_engine(manager)
    await prepare(engine, pair)
    async with Shops(engine) as shops:
        began = monotonic()
        doors[0].silent()
        await pair[1].promote()
        back = await shops.flowing(monotonic()) - began

    assert back < 3.5, back  # 1.3 s expected
    assert 0 < len(shops.failed) <= 4, shops.failed
    for error in shops.failed:
        assert isinstance(error.orig, ConnectionAborted | CommitOutcomeUnknown), error
        assert error.connection_invalidated, error
    await until(lambda: manager.snapshot().pool.used == 0)
