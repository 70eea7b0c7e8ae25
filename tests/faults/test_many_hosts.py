"""Several hosts: a silent first one, old primaries that come back, preferred hosts, wrong lists."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Any

from pgmoor import ConnectionManager
from pgmoor.events import Connected, Failback, Failover, ForeignHost, SplitBrain
from pgmoor.testing import Cluster, FaultProxy
from support import Workload, recorder

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest


async def test_first_host_silent_from_the_start_costs_a_moment_once(
    pair: Cluster, moor: Callable[..., Any], proxies: Callable[..., Any]
) -> None:
    doors = proxies(pair)
    await pair[0].kill()
    await pair[1].promote()
    doors[0].silent()
    manager = await moor(*doors)
    began = monotonic()
    async with manager.connection():
        first = monotonic() - began
    began = monotonic()
    async with manager.connection():
        second = monotonic() - began

    assert first < 1.0, first  # 0.3 s wanted
    assert second < 0.1, second


async def test_first_host_that_swallows_packets_costs_no_more(
    pair: Cluster, moor: Callable[..., Any], proxies: Callable[..., Any]
) -> None:
    doors = proxies(pair)
    await pair[0].kill()
    await pair[1].promote()
    doors[0].blackhole()
    manager = await moor(*doors)
    began = monotonic()
    async with manager.connection():
        first = monotonic() - began

    assert first < 1.0, first


async def test_an_old_primary_that_restarts_writable_gets_not_one_statement(
    pair: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(*pair)
    async with Workload(manager) as work:
        await pair[0].kill()
        await pair[1].promote()
        await work.back(monotonic())
        before = await _count(pair, 1)

        await pair[0].start()
        rows_at_restart = await _count(pair, 0)
        await recorder(manager).wait_for(SplitBrain)
        await manager.drain()  # connections are renewed while it stands there, writable
        await work.flowing(monotonic())
        await work.flowing(monotonic())

    assert await _count(pair, 0) == rows_at_restart
    assert await _count(pair, 1) > before
    assert len(recorder(manager).of(Failover)) == 1


async def test_an_old_primary_is_not_chosen_by_a_manager_that_starts_only_then(
    pair: Cluster, moor: Callable[..., Any]
) -> None:
    await pair[0].kill()
    await pair[1].promote()
    await pair[0].start()
    for order in (pair.nodes, tuple(reversed(pair.nodes))):
        manager = await moor(*order)
        event = await recorder(manager).wait_for(Connected)
        assert event.host.endswith(str(pair[1].port))
        async with manager.connection() as conn:
            assert conn.info.port == pair[1].port
        await recorder(manager).wait_for(SplitBrain)


async def test_a_preferred_host_that_is_back_is_used_again_after_failback_after(
    pair: Cluster, moor: Callable[..., Any], proxies: Callable[..., Any]
) -> None:
    # Two ways to one server are equals: the same cluster, the same timeline.
    preferred, other = (
        FaultProxy(pair[0].host, pair[0].port),
        FaultProxy(pair[0].host, pair[0].port),
    )
    with preferred, other:
        manager = await moor(preferred, other, failback_after=0.5, health_interval=0.1)
        async with Workload(manager) as work:
            preferred.refuse()
            preferred.reset()
            await recorder(manager).wait_for(Failover)
            await work.back(monotonic())
            failed = len(work.failed)

            preferred.heal()
            began = monotonic()
            await recorder(manager).wait_for(Failback)
            stable = monotonic() - began
            await work.flowing(monotonic())
            async with manager.connection() as conn:
                assert conn.info.port == preferred.port

    assert stable >= 0.4, stable
    assert len(work.failed) == failed, work.errors()  # moved as they came back


async def test_failback_by_hand_waits_for_the_word(pair: Cluster, moor: Callable[..., Any]) -> None:
    preferred, other = (
        FaultProxy(pair[0].host, pair[0].port),
        FaultProxy(pair[0].host, pair[0].port),
    )
    with preferred, other:
        manager = await moor(
            preferred, other, failback="manual", failback_after=0.0, health_interval=0.1
        )
        await manager.wait()
        preferred.refuse()
        preferred.reset()
        await recorder(manager).wait_for(Failover)
        preferred.heal()
        await manager.health(fresh=True)
        await manager.health(fresh=True)
        assert not recorder(manager).of(Failback)

        manager.failback()
        event = await recorder(manager).wait_for(Failback)

    assert event.after.endswith(str(preferred.port))


async def test_a_flapping_host_causes_one_failover_for_each_failback_after(
    pair: Cluster, moor: Callable[..., Any]
) -> None:
    preferred, other = (
        FaultProxy(pair[0].host, pair[0].port),
        FaultProxy(pair[0].host, pair[0].port),
    )
    with preferred, other:
        manager = await moor(preferred, other, health_interval=0.05)
        async with Workload(manager) as work:
            for _ in range(6):
                preferred.refuse()
                preferred.reset()
                await work.flowing(monotonic())
                preferred.heal()
                await work.flowing(monotonic())

    assert len(recorder(manager).of(Failover)) == 1
    assert not recorder(manager).of(Failback)


async def test_a_host_of_another_cluster_is_reported_and_not_used(
    pair: Cluster, alone: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(pair[0], alone[0])
    await manager.wait()
    event = await recorder(manager).wait_for(ForeignHost)
    await pair[0].kill()
    await pair[1].promote()

    assert event.host.endswith(str(alone[0].port))
    assert not (await manager.health(fresh=True)).ready


async def test_each_transition_is_one_log_line(
    pair: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="pgmoor")
    async with ConnectionManager(pair.conninfo(), min_size=1, max_size=4) as manager:
        await manager.wait()
        for _ in range(50):
            async with manager.connection() as conn:
                await conn.execute("select 1")
        await pair[0].kill()
        await pair[1].promote()
        async with manager.connection() as conn:
            await conn.execute("select 1")

    lines = [record.message for record in caplog.records if record.name.startswith("pgmoor")]
    assert len(lines) <= 10, lines
    assert sum("failed over from" in line for line in lines) == 1
    assert sum(f"{pair[0].port} is down: Connection refused" in line for line in lines) == 1


async def _count(cluster: Cluster, index: int) -> int:
    ((count,),) = await cluster[index].sql("select count(*) from work")
    assert isinstance(count, int)
    return count
