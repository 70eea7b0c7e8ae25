"""The old primary comes back, writable: not one statement of a caller reaches it."""

from __future__ import annotations

import asyncio
import time
from collections import ChainMap
from contextlib import AsyncExitStack
from time import monotonic
from typing import TYPE_CHECKING, Any

import pytest

from pgmoor import ConnectionAborted, NoHostAvailable
from pgmoor.events import Connected, Failover, ForeignHost, OutageEnded, OutageStarted, SplitBrain
from server_log import ServerLog
from support import Workload, one_loop, recorder, until

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
    """Wait until the manager says that the host with this port is no primary."""
    return await recorder(manager).wait_for(
        SplitBrain, where=lambda event: event.host == f"127.0.0.1:{port}"
    )


async def _two_primaries(cluster: Cluster) -> None:
    """Make the second node primary, and let the first come back as one, still writable."""
    await cluster[0].kill()
    await cluster[1].promote()
    await cluster[0].start()


@pytest.mark.parametrize("kind", ["silence", "freeze", "crash"])
async def test_two_managers_with_lists_in_either_order_send_nothing_to_an_old_primary(
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
        assert {"BEGIN", "COMMIT"} < set(log.statements())  # it would show
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
    if kind == "crash":  # otherwise what was under way when it was lost arrives now
        assert not log.statements()
    acknowledged = works[0].acknowledged_since(moved) | works[1].acknowledged_since(moved)
    assert acknowledged <= {key for (key,) in await trio[1].sql("select id from work")}
    for manager in managers:
        assert len(recorder(manager).of(Failover)) == 1


async def test_a_statement_that_was_on_its_way_when_the_host_was_left_is_not_delivered_later(
    pair: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(*pair, kwargs={"autocommit": True}, **BRISK)
    conn = await manager.getconn()
    pid = conn.info.backend_pid
    await pair[0].freeze()
    # More than a frozen server's kernel takes in; the rest waits in this machine's.
    sent = asyncio.create_task(conn.execute("insert into work (id) values (%s)", ["x" * 1_000_000]))
    await pair[1].promote()
    with pytest.raises(ConnectionAborted):
        await sent
    await manager.putconn(conn)
    await pair[0].thaw()
    await pair[0].wait_for(f"select not exists (select from pg_stat_activity where pid = {pid})")

    assert await pair[0].sql("select count(*) from work") == [(0,)]


@one_loop
async def test_a_manager_that_starts_only_then_sends_it_nothing(
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


@one_loop
async def test_a_blocked_event_loop_does_not_make_it_the_first_that_answers(
    trio: Cluster, moor: Callable[..., Any], proxies: Callable[..., Any]
) -> None:
    await _two_primaries(trio)
    old, new, _ = proxies(trio)
    new.delay(0.005)
    manager = await moor(old, new)
    while not recorder(manager).of(Connected):
        time.sleep(0.08)  # noqa: ASYNC251  it is what the test is about
        await asyncio.sleep(0)

    assert recorder(manager).of(Connected)[0].host == f"127.0.0.1:{new.port}"


@one_loop
async def test_when_a_network_heals_the_first_that_answers_is_not_taken_at_once(
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


@one_loop
async def test_a_promoted_host_that_was_never_seen_before_ends_the_old_ones_time(
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


@one_loop
async def test_timelines_cascade_and_both_old_primaries_come_back(
    trio: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(*trio, health_interval=0.1)
    async with Workload(manager, tasks=6) as work:
        await trio[0].kill()
        await trio[1].promote()
        await trio.follow(trio[1])
        await work.back(monotonic())
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


@one_loop
async def test_a_standby_of_the_new_primary_is_enough_to_know_the_old_one(
    trio: Cluster, moor: Callable[..., Any]
) -> None:
    await trio[0].kill()
    await trio[1].promote()
    await trio.follow(trio[1])
    # While it receives, a standby says so at once; later, from its next restartpoint on.
    await trio[1].sql("checkpoint")
    ((written,),) = await trio[1].sql("select pg_current_wal_lsn()")
    await trio[2].wait_for(f"select pg_last_wal_replay_lsn() >= '{written}'")
    await trio[2].sql("checkpoint")
    await trio[1].kill()
    await trio[0].start()
    log = ServerLog(trio[0])
    manager = await moor(*trio)  # has seen nothing of all that
    event = await recorder(manager).wait_for(SplitBrain)
    assert (event.timeline, event.newest_timeline) == (1, 2)
    with pytest.raises(NoHostAvailable):
        await manager.getconn(timeout=0.3)

    await trio[2].promote()
    async with manager.connection(timeout=5) as conn:
        assert conn.info.port == trio[2].port
    assert not log.statements()


@one_loop
async def test_of_two_promoted_on_one_timeline_the_one_in_use_is_kept(
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


@one_loop
async def test_a_primary_of_another_cluster_is_named_at_the_start_and_never_used(
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
