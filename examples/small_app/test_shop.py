"""The shop's tests, with and without faults of its database.

    python -m pytest examples/small_app

They need the `testing` extra, pytest and pytest-asyncio. The fixtures `postgres_cluster`,
`fault_proxy` and `manager` come with pgmoor.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio
from shop import Shop, SoldOutError

from pgmoor import NoHostAvailable
from pgmoor.testing import CRASH, DEMOTION, FREEZE, SESSIONS_ENDED, under_faults

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from pgmoor.testing import Cluster

# Synchronous: otherwise a crash may lose transactions that the primary acknowledged.
pytestmark = [
    pytest.mark.asyncio,
    pytest.mark.postgres_cluster(standbys=2, synchronous=True),
]


@pytest_asyncio.fixture
async def shop(manager: Callable[..., Any]) -> AsyncIterator[Shop]:
    async with manager(min_size=2, max_size=4) as moor:
        shop = Shop(moor)
        await shop.create()
        yield shop


async def test_an_order_takes_one_piece(shop: Shop) -> None:
    await shop.receive("tea", 2)
    await shop.order("tea")
    assert await shop.left("tea") == 1


async def test_an_order_with_the_same_key_is_carried_out_once(shop: Shop) -> None:
    await shop.receive("tea", 2)
    key = uuid.uuid4()
    await shop.order("tea", key)
    await shop.order("tea", key)
    assert await shop.left("tea") == 1


async def test_a_sold_out_article_is_not_ordered(shop: Shop, postgres_cluster: Cluster) -> None:
    with pytest.raises(SoldOutError):
        await shop.order("tea")
    assert await postgres_cluster[0].sql("select * from orders") == []


async def test_no_order_fails_and_none_is_lost_when_the_primary_fails(
    shop: Shop, postgres_cluster: Cluster
) -> None:
    await shop.receive("tea", 1_000_000)
    faults = [CRASH, FREEZE, DEMOTION, SESSIONS_ENDED]
    report = await under_faults(lambda: shop.order("tea"), postgres_cluster, faults)

    print(report)  # pytest -s shows it
    report.assert_survived(within=10, max_errors=0)
    sold = 1_000_000 - await shop.left("tea")
    assert sold >= sum(outcome.succeeded for outcome in report)


async def test_an_order_fails_in_time_when_no_server_answers(
    manager: Callable[..., Any], postgres_cluster: Cluster, fault_proxy: Callable[..., Any]
) -> None:
    doors = [fault_proxy(node) for node in postgres_cluster]
    async with manager(*doors, min_size=1, when_down="fail") as moor:
        shop = Shop(moor)
        await shop.create()
        for door in doors:
            door.refuse()
            door.reset()
        with pytest.raises(NoHostAvailable):
            await shop.order("tea", patience=0.2)
