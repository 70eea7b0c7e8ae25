"""The primary is lost and a standby takes over: crash, silence, freeze, demotion."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Any

import psycopg

from pgmoor import CommitOutcomeUnknown, ConnectionAborted
from pgmoor.events import Failover, HostDown, OutageEnded, OutageStarted, RoleChanged, SplitBrain
from support import Workload, recorder, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgmoor.testing import Cluster


async def test_crash_everyone_flows_again_at_once_after_the_promotion(
    pair: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(*pair)
    async with Workload(manager) as work:
        await pair[0].kill()
        await pair[1].promote()
        writable = monotonic()

        back = await work.back(writable)

    assert back < 1.0, back  # 0.1 s wanted; measured by benchmarks/failover.py
    assert len(work.failed) <= 8, work.errors()  # what was in flight: at most the whole pool
    assert all(isinstance(item.error, psycopg.OperationalError) for item in work.failed)
    event = await recorder(manager).wait_for(Failover)
    assert (event.before, event.after) == (
        f"127.0.0.1:{pair[0].port}",
        f"127.0.0.1:{pair[1].port}",
    )


async def test_crash_without_successor_is_an_outage_until_the_standby_is_promoted(
    pair: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(*pair)
    async with Workload(manager) as work:
        await pair[0].kill()
        await recorder(manager).wait_for(OutageStarted)
        assert (await manager.health()).status == "fail"
        failed = len(work.failed)

        await pair[1].promote()
        back = await work.back(monotonic())

    assert back < 1.0, back  # 0.2 s wanted
    assert len(work.failed) == failed, work.errors()
    assert (await recorder(manager).wait_for(OutageEnded)).host.endswith(str(pair[1].port))


async def test_silence_everyone_is_moved_and_told_why(
    pair: Cluster, moor: Callable[..., Any], proxies: Callable[..., Any]
) -> None:
    doors = proxies(pair)
    manager = await moor(*doors)
    async with Workload(manager) as work:
        began = monotonic()
        doors[0].silent()
        await pair[1].promote()

        back = await work.back(began)

    assert back < 2.5, back  # 1.2 s wanted
    assert 0 < len(work.failed) <= 8, work.errors()
    for item in work.failed:  # in the middle of COMMIT the outcome is what the error tells first
        assert isinstance(item.error, ConnectionAborted | CommitOutcomeUnknown), work.errors()
        assert str(doors[0].port) in str(item.error)
        assert "newer timeline" in str(item.error)


async def test_silence_is_noticed_faster_when_asked_for(
    pair: Cluster, moor: Callable[..., Any], proxies: Callable[..., Any]
) -> None:
    doors = proxies(pair)
    manager = await moor(*doors, health_interval=0.1)
    async with Workload(manager) as work:
        began = monotonic()
        doors[0].silent()
        await pair[1].promote()

        back = await work.back(began)

    assert back < 1.2, back  # 0.3 s wanted
    assert len(work.failed) <= 8, work.errors()


async def test_freeze_everyone_is_moved_and_the_thawed_primary_is_not_written_to(
    pair: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(*pair)
    async with Workload(manager) as work:
        began = monotonic()
        await pair[0].freeze()
        await pair[1].promote()
        writable = monotonic()
        back = await work.back(began)

        await pair[0].thaw()
        await recorder(manager).wait_for(SplitBrain)
        await work.flowing(monotonic())

    assert back < 2.5, back  # as silence
    assert len(work.failed) <= 8, work.errors()
    on_new = {key for (key,) in await pair[1].sql("select id from work")}
    on_old = {key for (key,) in await pair[0].sql("select id from work")}
    # What was acknowledged before is the replication's business, which is asynchronous here.
    assert not (on_old - on_new) & work.acknowledged_since(writable)
    assert recorder(manager).of(SplitBrain)[0].timeline == 1


async def test_demotion_everyone_leaves_a_server_that_refuses_writes(
    pair: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(*pair)
    async with Workload(manager) as work:
        await pair[0].demote()
        await pair[1].promote()
        writable = monotonic()

        back = await work.back(writable)

    assert back < 1.2, back  # 0.2 s wanted
    assert len(work.failed) <= 16 + 8, work.errors()  # one round of tasks, and what was in flight
    await recorder(manager).wait_for(RoleChanged, where=lambda e: e.after == "read-only primary")
    assert not await pair[0].sql(  # the old host is not written to again
        "select id from work where id = any(%s)", list(work.acknowledged_since(writable))
    )


async def test_all_standby_then_one_promoted(pair: Cluster, moor: Callable[..., Any]) -> None:
    await pair[0].stop()
    manager = await moor(pair[1])
    assert manager.recorder is not None
    await manager.close()

    manager = await moor(pair[1], target="primary")
    await recorder(manager).wait_for(OutageStarted)
    await pair[1].promote()
    began = monotonic()
    async with manager.connection() as conn:
        taken = monotonic() - began
        await conn.execute("insert into work (id) values ('x')")

    assert taken < 1.0, taken  # 0.2 s wanted


async def test_a_standby_that_dies_disturbs_nobody(pair: Cluster, moor: Callable[..., Any]) -> None:
    manager = await moor(*pair)
    async with Workload(manager) as work:
        await pair[1].kill()
        await recorder(manager).wait_for(HostDown)
        await work.flowing(monotonic())

    assert not work.failed, work.errors()
    assert not recorder(manager).of(Failover)
    health = await manager.health()
    assert (health.ready, health.status) == (True, "warn")


async def test_a_second_failover_follows_the_first(pair: Cluster, moor: Callable[..., Any]) -> None:
    manager = await moor(*pair)
    async with Workload(manager) as work:
        await pair[0].kill()
        await pair[1].promote()
        await work.back(monotonic())
        await pair[0].rejoin(pair[1])
        await until(lambda: manager._machine.steering.table[0].role.value == "standby")

        await pair[1].kill()
        await pair[0].promote()
        back = await work.back(monotonic())

    assert back < 1.0, back
    assert len(recorder(manager).of(Failover)) == 2
