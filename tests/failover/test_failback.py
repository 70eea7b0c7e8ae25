"""A failback that can't fill the preferred host's pool, or that takes long to."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
import pytest_asyncio

from pgmoor._core.hosts import filling
from pgmoor.events import Failback, FailbackPostponed, Failover
from pgmoor.testing import Cluster, FaultProxy
from support import hold, recorder, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

SLOTS = 8  # for roles other than the superuser
TAKEN = 4  # by other programs; one more is the probe's
MIN_SIZE = 6


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def small() -> AsyncIterator[Cluster]:
    """A primary and a standby with few connection slots."""
    settings = {"max_connections": str(SLOTS + 3), "superuser_reserved_connections": "3"}
    async with Cluster(standbys=1, settings=settings) as cluster:
        await cluster[0].sql("create role app login")
        await cluster[1].wait_for("select to_regrole('app') is not null")
        yield cluster


@pytest.fixture
async def others(small: Cluster) -> AsyncIterator[None]:
    """Other programs hold connections to the primary."""
    conninfo = small[0].conninfo(user="app")
    conns = [await psycopg.AsyncConnection.connect(conninfo) for _ in range(TAKEN)]
    yield
    for conn in conns:
        await conn.close()


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make attempts to fill a pool end soon, and be repeated soon."""
    monkeypatch.setattr(filling, "STUCK_AFTER", 0.5)
    monkeypatch.setattr(filling, "FIRST_WAIT", 0.2)


async def away(manager: Any, preferred: Any) -> None:
    """Have the manager use the second host while the preferred one refuses."""
    await manager.wait_ready()
    preferred.refuse()
    preferred.reset()
    await recorder(manager).wait_for(Failover)


@pytest.mark.usefixtures("others", "hasty")
async def test_a_failback_without_enough_slots_is_postponed_and_gives_them_back(
    small: Cluster, moor: Callable[..., Any], proxies: Callable[..., Any]
) -> None:
    doors = proxies(small)
    manager = await moor(
        *doors,
        target="any",
        min_size=MIN_SIZE,
        max_size=8,
        kwargs={"user": "app"},
        failback_after=0.3,
        health_interval=0.1,
    )
    await away(manager, doors[0])
    await until(lambda: manager.snapshot().pool.size >= MIN_SIZE)
    conns = await hold(manager, 5)
    doors[0].heal()
    first = await recorder(manager).wait_for(FailbackPostponed)
    await small[0].wait_for(
        f"select count(*) <= {TAKEN + 1} from pg_stat_activity where usename = 'app'"
    )
    second = await recorder(manager).wait_for(FailbackPostponed, where=lambda e: e is not first)
    assert not recorder(manager).of(Failback)
    for conn in conns:
        assert conn.info.port == doors[1].port
        await manager.putconn(conn)
    await recorder(manager).wait_for(Failback)  # those who want a connection now have enough

    assert (first.host, first.wanted) == (f"127.0.0.1:{doors[0].port}", 5)
    assert 1 <= first.made <= SLOTS - TAKEN - 1
    assert "connection slots are reserved" in first.reason
    assert first.retry_after == pytest.approx(0.3)
    assert second.retry_after == pytest.approx(0.6)


@pytest.mark.usefixtures("others", "hasty")
async def test_a_manual_failback_that_is_postponed_is_not_tried_again_by_itself(
    small: Cluster, moor: Callable[..., Any], proxies: Callable[..., Any]
) -> None:
    doors = proxies(small)
    manager = await moor(
        *doors,
        target="any",
        min_size=MIN_SIZE,
        max_size=8,
        kwargs={"user": "app"},
        failback="manual",
        health_interval=0.1,
    )
    await away(manager, doors[0])
    await until(lambda: manager.snapshot().pool.size >= MIN_SIZE)
    conns = await hold(manager, 5)
    doors[0].heal()
    await manager.health(fresh=True)
    await manager.health(fresh=True)
    manager.failback()
    event = await recorder(manager).wait_for(FailbackPostponed)
    for conn in conns:
        await manager.putconn(conn)
    assert not recorder(manager).of(Failback)
    manager.failback()
    await recorder(manager).wait_for(Failback)

    assert event.retry_after is None


async def test_a_failback_takes_the_time_that_it_needs_while_connections_keep_coming(
    alone: Cluster, moor: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filling, "STUCK_AFTER", 1.0)
    node = alone[0]
    with FaultProxy(node.host, node.port) as preferred, FaultProxy(node.host, node.port) as other:
        manager = await moor(
            preferred, other, min_size=12, max_size=12, num_workers=1, failback_after=0.0
        )
        await away(manager, preferred)
        preferred.heal()
        preferred.delay(0.02)
        began = monotonic()
        await recorder(manager).wait_for(Failback, timeout=30)
        took = monotonic() - began
        await manager.close()

    assert took > filling.STUCK_AFTER, took
    assert not recorder(manager).of(FailbackPostponed)
