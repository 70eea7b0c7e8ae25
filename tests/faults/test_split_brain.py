"""An old primary comes back, still writable: not one statement of a caller reaches it."""

from __future__ import annotations

import asyncio
import time
from collections import ChainMap
from contextlib import AsyncExitStack
from time import monotonic
from typing import TYPE_CHECKING, Any

import pytest

from pgmoor import NoHostAvailable
from pgmoor.events import Connected, Failover, ForeignHost, OutageEnded, OutageStarted, SplitBrain
from server_log import ServerLog
from support import Workload, fail_over, recorder, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgmoor.testing import Cluster, FaultProxy

# A missed answer is noticed after 0.3 s instead of 1 s; connections are renewed all the time.
BRISK = {"health_interval": 0.1, "health_timeout": 0.3, "max_lifetime": 0.2}


async def _lose(kind: str, cluster: Cluster, door: FaultProxy) -> None:
    match kind:
        case "silence":
            door.silent()
        case "freeze":
            await cluster[0].freeze()
        case "crash":
            await cluster[0].kill()


async def _bring_back(kind: str, cluster: Cluster, door: FaultProxy) -> None:
    match kind:
        case "silence":
            door.heal()
        case "freeze":
            await cluster[0].thaw()
        case "crash":
            await cluster[0].start()


async def _split_brain(manager: Any, port: int) -> SplitBrain:
    """Wait until the manager reports the host with this port as a stale primary."""
    return await recorder(manager).wait_for(
        SplitBrain, where=lambda event: event.host == f"127.0.0.1:{port}"
    )


async def _two_primaries(cluster: Cluster) -> None:
    """Make the second node primary, and let the first come back as one, still writable."""
    await cluster[0].kill()
    await cluster[1].promote()
    await cluster[0].start()


@pytest.mark.parametrize("kind", ["silence", "freeze", "crash"])
async def test_a_lost_primary_that_comes_back_gets_no_statement_from_any_manager(
    kind: str, trio: Cluster, moor: Callable[..., Any], proxies: Callable[..., Any]
) -> None:
    old, new, _ = proxies(trio)
    managers = [await moor(old, new, **BRISK), await moor(new, old, **BRISK)]
    log = ServerLog(trio[0])
    async with AsyncExitStack() as stack:
        works = [
            await stack.enter_async_context(Workload(manager, tasks=6, name=f"m{i}-"))
            for i, manager in enumerate(managers)
        ]
        assert {"BEGIN", "COMMIT"} < set(log.statements())  # the log shows statements
        sent = ChainMap(*(work.sent for work in works))
        assert await log.sent_since(0, sent)
        await _lose(kind, trio, old)
        await trio[1].promote()
        for manager, work in zip(managers, works, strict=True):
            await recorder(manager).wait_for(Failover)
            await work.back(monotonic())
        moved = monotonic()
        log = ServerLog(trio[0])

        await _bring_back(kind, trio, old)
        for manager, work in zip(managers, works, strict=True):
            assert (await _split_brain(manager, old.port)).timeline == 1
            await manager.drain()
            await work.flowing(monotonic())
            await work.flowing(monotonic())

    assert not await log.sent_since(moved, sent)
    if kind == "crash":  # else what was under way when it was lost may arrive now
        assert not log.statements()
    acknowledged = works[0].acknowledged_since(moved) | works[1].acknowledged_since(moved)
    assert acknowledged <= {key for (key,) in await trio[1].sql("select id from work")}
    for manager in managers:
        assert len(recorder(manager).of(Failover)) == 1


async def test_a_manager_opened_afterwards_sends_nothing_to_the_old_primary(
    trio: Cluster, moor: Callable[..., Any], proxies: Callable[..., Any]
) -> None:
    await _two_primaries(trio)
    old, new, _ = proxies(trio)
    # Connecting takes longer than `settle`, and the new primary answers last.
    old.delay(0.03)
    new.delay(0.04)
    log = ServerLog(trio[0])
    for order in ((old, new), (new, old)):
        manager = await moor(*order, min_size=1)
        async with manager.connection() as conn:
            assert conn.info.port == new.port
        await recorder(manager).wait_for(SplitBrain)
        assert recorder(manager).of(Connected)[0].host == f"127.0.0.1:{new.port}"
        assert not recorder(manager).of(Failover)

    assert not log.statements()


async def test_with_a_blocked_event_loop_the_old_primary_is_not_chosen(
    trio: Cluster, moor: Callable[..., Any], proxies: Callable[..., Any]
) -> None:
    await _two_primaries(trio)
    old, new, _ = proxies(trio)
    new.delay(0.005)
    manager = await moor(old, new)
    while not recorder(manager).of(Connected):
        time.sleep(0.08)  # noqa: ASYNC251  this blocks the loop
        await asyncio.sleep(0)

    assert recorder(manager).of(Connected)[0].host == f"127.0.0.1:{new.port}"


async def test_after_an_outage_the_first_host_that_answers_is_not_chosen_at_once(
    trio: Cluster, moor: Callable[..., Any], proxies: Callable[..., Any]
) -> None:
    old, new, _ = proxies(trio)
    new.refuse()
    manager = await moor(old, new, backoff_base=60, backoff_cap=60)  # has seen the old one only
    await manager.wait()
    old.refuse()
    old.reset()
    await recorder(manager).wait_for(OutageStarted)
    await trio[1].promote()
    log = ServerLog(trio[0])

    old.heal()
    old.delay(0.03)
    dials = old.accepted
    asked = asyncio.create_task(manager.health(fresh=True))
    await until(lambda: old.accepted > dials)
    new.heal()  # a moment later
    event = await recorder(manager).wait_for(OutageEnded)
    await asked

    assert event.host == f"127.0.0.1:{new.port}"
    await recorder(manager).wait_for(SplitBrain)
    assert not log.statements()


async def test_a_promoted_host_that_was_never_seen_before_replaces_the_old_primary(
    trio: Cluster, moor: Callable[..., Any], proxies: Callable[..., Any]
) -> None:
    old, new, _ = proxies(trio)
    new.refuse()
    manager = await moor(old, new, health_interval=0.1)
    log = ServerLog(trio[0])
    async with Workload(manager) as work:
        await trio[1].promote()
        new.heal()
        await recorder(manager).wait_for(Failover)
        moved = monotonic()
        await work.back(moved)
        await recorder(manager).wait_for(SplitBrain)

    assert not await log.sent_since(moved, work.sent)
    assert len(work.failed) <= 8, work.errors()


async def test_after_two_failovers_both_old_primaries_come_back_and_get_nothing(
    trio: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(*trio, health_interval=0.1)
    async with Workload(manager, tasks=6) as work:
        await fail_over(trio, work)
        await trio.follow(trio[1])
        await trio[1].kill()
        await trio[2].promote()
        await work.back(monotonic())
        logs = [ServerLog(trio[0]), ServerLog(trio[1])]

        await asyncio.gather(trio[0].start(), trio[1].start())
        for index, timeline in enumerate((1, 2)):
            event = await _split_brain(manager, trio[index].port)
            assert (event.timeline, event.newest_timeline) == (timeline, 3)
        late = await moor(*trio, min_size=1)
        async with late.connection() as conn:
            assert conn.info.port == trio[2].port
        await manager.drain()
        await work.flowing(monotonic())

    assert [log.statements() for log in logs] == [[], []]
    assert len(recorder(manager).of(Failover)) == 2


async def test_a_standby_of_the_lost_new_primary_exposes_the_old_one(
    trio: Cluster, moor: Callable[..., Any]
) -> None:
    await trio[0].kill()
    await trio[1].promote()
    await trio.follow(trio[1])
    # A standby reports its timeline while it receives WAL; afterwards, from its next restartpoint.
    await trio[1].sql("checkpoint")
    ((written,),) = await trio[1].sql("select pg_current_wal_lsn()")
    await trio[2].wait_for(f"select pg_last_wal_replay_lsn() >= '{written}'")
    await trio[2].sql("checkpoint")
    await trio[1].kill()
    await trio[0].start()
    log = ServerLog(trio[0])
    manager = await moor(*trio)  # it has seen none of this
    event = await recorder(manager).wait_for(SplitBrain)
    assert (event.timeline, event.newest_timeline) == (1, 2)
    with pytest.raises(NoHostAvailable):
        await manager.getconn(timeout=0.3)

    await trio[2].promote()
    async with manager.connection(timeout=5) as conn:
        assert conn.info.port == trio[2].port
    assert not log.statements()


async def test_of_two_primaries_on_one_timeline_the_one_in_use_is_kept(
    trio: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(*trio, health_interval=0.1, failback_after=0.0)
    async with Workload(manager, tasks=6) as work:
        await trio[0].kill()
        await trio[2].promote()
        await work.back(monotonic())
        log = ServerLog(trio[1])

        await trio[1].promote()
        assert (await _split_brain(manager, trio[1].port)).timeline == 2
        await manager.drain()
        await work.flowing(monotonic())

    assert not log.statements()


async def test_a_primary_of_another_cluster_is_reported_and_never_used(
    trio: Cluster, alone: Cluster, moor: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    manager = await moor(trio[0], alone[0], backoff_cap=0.1)
    async with Workload(manager, tasks=4) as work:
        event = await recorder(manager).wait_for(ForeignHost)
        await trio[0].kill()
        await recorder(manager).wait_for(OutageStarted)
        with pytest.raises(NoHostAvailable):
            await manager.getconn(timeout=0.3)
        await trio[0].start()
        await work.back(monotonic())

    assert event.host == f"127.0.0.1:{alone[0].port}"
    assert f"{event.host} belongs to another database cluster" in caplog.text
    assert await alone[0].sql("select count(*) from work") == [(0,)]
