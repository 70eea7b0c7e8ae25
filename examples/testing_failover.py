"""A test that kills an application's primary and checks that no acknowledged order is lost.

    python -m pytest examples/testing_failover.py

It needs the `testing` extra, pytest and pytest-asyncio.
"""

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from pgmoor import ConnectionManager, Retry
from pgmoor.testing import Cluster

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import psycopg

pytestmark = pytest.mark.asyncio


async def insert(conn: psycopg.AsyncConnection[Any], key: uuid.UUID) -> None:
    await conn.execute("insert into orders values (%s) on conflict do nothing", [key])


class Shop:
    """The application under test."""

    def __init__(self, manager: ConnectionManager) -> None:
        self.manager = manager
        self.acknowledged: set[uuid.UUID] = set()

    async def order(self) -> None:
        """Place an order. The key, made before the first try, makes it safe to repeat."""
        key = uuid.uuid4()
        await self.manager.run(insert, key, retry=Retry(idempotent=True))
        self.acknowledged.add(key)

    async def customer(self) -> None:
        while True:
            await self.order()
            await asyncio.sleep(0.01)


@pytest_asyncio.fixture
async def cluster() -> AsyncIterator[Cluster]:
    # Synchronous: otherwise a crash may lose transactions that the primary acknowledged.
    async with Cluster(standbys=2, synchronous=True) as cluster:
        await cluster[0].sql("create table orders (key uuid primary key)")
        yield cluster


async def test_no_order_is_lost_when_the_primary_is_killed(cluster: Cluster) -> None:
    async with ConnectionManager(cluster.conninfo(), min_size=2, max_size=4) as manager:
        shop = Shop(manager)
        customers = [asyncio.create_task(shop.customer()) for _ in range(8)]
        await asyncio.sleep(0.5)

        await cluster[0].kill()
        before = len(shop.acknowledged)
        # As an orchestrator would, promote the standby that has received the most.
        lsn = "select pg_last_wal_receive_lsn() - '0/0'::pg_lsn"
        received = [(await node.sql(lsn))[0][0] for node in cluster.nodes[1:]]
        successor = cluster[1 + received.index(max(received))]
        await successor.promote()
        await cluster.follow(successor)
        await asyncio.sleep(0.5)

        for customer in customers:
            customer.cancel()
        await asyncio.gather(*customers, return_exceptions=True)

    written = {key for (key,) in await successor.sql("select key from orders")}
    assert len(shop.acknowledged) > before > 0
    assert shop.acknowledged <= written
