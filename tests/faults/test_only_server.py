"""No other server qualifies: outage, restart, stall, lost sessions."""

from __future__ import annotations

import asyncio
from time import monotonic
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from pgmoor import (
    CommitOutcomeUnknown,
    ConnectionAborted,
    NoHostAvailable,
    PoolExhausted,
    TooManyRequests,
)
from pgmoor.events import (
    Connected,
    Failover,
    GaveUp,
    HostDown,
    OutageEnded,
    OutageStarted,
    PoolSaturated,
    Stalled,
    StallEnded,
)
from support import Workload, both_loops, fill, hold, recorder, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgmoor.testing import Cluster


@both_loops
async def test_in_an_outage_callers_wait_and_the_pool_fills_again_without_traffic(
    alone: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(*alone)
    async with Workload(manager) as work:
        await alone[0].stop()
        await recorder(manager).wait_for(OutageStarted)
        in_flight = len(work.failed)

        await alone[0].start()
        back = await work.back(monotonic())

    assert back < 2.0, back  # 1 s wanted, 0.5 s in the median
    assert in_flight <= 8, work.errors()
    assert len(work.failed) == in_flight, work.errors()  # none during the outage
    await manager.wait(timeout=5)
    assert (await manager.health()).pool.size >= manager.min_size


@pytest.mark.filterwarnings("ignore::pgmoor.InsecureTransportWarning")
async def test_in_a_long_outage_each_caller_fails_at_its_deadline_with_every_hosts_error(
    pair: Cluster, moor: Callable[..., Any], proxies: Callable[..., Any]
) -> None:
    doors = proxies(pair)
    nowhere = SimpleNamespace(host="db.invalid", port=5432)
    manager = await moor(
        *(*doors, nowhere), min_size=2, max_size=2, health_interval=0.1, health_timeout=0.2
    )
    held = await hold(manager, 2)

    async def call(timeout: float) -> tuple[float, NoHostAvailable]:
        """Return how many seconds after its deadline a caller failed, and the error."""
        began = monotonic()
        with pytest.raises(NoHostAvailable) as caught:
            await manager.getconn(timeout=timeout)
        return monotonic() - began - timeout, caught.value

    early = [asyncio.create_task(call(0.8)) for _ in range(3)]  # they wait from before the outage
    await until(lambda: manager.get_stats()["requests_waiting"] == 3)
    await pair[0].kill()
    doors[1].silent()
    await recorder(manager).wait_for(OutageStarted)
    await until(lambda: manager.snapshot().hosts[1].status == "silent")
    later = [asyncio.create_task(call(0.4 + 0.1 * i)) for i in range(5)]
    failed = await asyncio.gather(*early, *later)
    for conn in held:
        await manager.putconn(conn)

    assert all(-0.05 < late < 0.3 for late, _ in failed), failed  # 0.1 s wanted
    names = [f"{server.host}:{server.port}" for server in (*doors, nowhere)]
    for i, (_, error) in enumerate(failed[3:]):  # the first three saw only its beginning
        text = str(error)
        within = f"within {0.4 + 0.1 * i:.2f} s"
        assert text.startswith(f"no host available for {manager.name!r} {within}: {names[0]} is")
        assert f"{names[0]} is down (" in text
        assert f"; {names[1]} is silent (no answer within 0.2 s)" in text
        assert f"; {names[2]} is down (its name was not resolved: " in text
        assert [host.host for host in error.hosts] == names


async def test_a_manager_opened_while_the_database_is_down_becomes_ready_by_itself(
    alone: Cluster, moor: Callable[..., Any]
) -> None:
    await alone[0].stop()
    manager = await moor(*alone)
    with pytest.raises(NoHostAvailable, match="refused"):
        await manager.open(wait=True, timeout=0.3)
    assert (await manager.health()).live
    assert not (await manager.health()).ready

    await alone[0].start()
    await manager.wait_ready(timeout=5)

    async with manager.connection() as conn:
        assert (await (await conn.execute("select 1")).fetchone()) == (1,)
    assert recorder(manager).of(Connected)


@both_loops
async def test_no_caller_notices_that_all_idle_sessions_were_terminated(
    alone: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(*alone, min_size=8)
    pids = [conn.info.backend_pid for conn in await fill(manager, 8)]
    await alone[0].sql(
        "select pg_terminate_backend(pid) from pg_stat_activity"
        " where pid <> pg_backend_pid() and backend_type = 'client backend'"
    )
    await alone[0].wait_for(
        f"select not exists (select from pg_stat_activity where pid = any(array{pids}))"
    )
    began = monotonic()
    async with manager.connection() as conn:
        taken = monotonic() - began
        await conn.execute("select 1")

    assert taken < 0.2, taken  # 20 ms wanted
    assert not recorder(manager).of(HostDown)
    assert not recorder(manager).of(OutageStarted)


async def test_a_terminated_session_fails_only_the_statement_on_it(
    alone: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(*alone, max_size=4)
    await manager.wait()
    conns = await hold(manager, 4)
    pids = [conn.info.backend_pid for conn in conns]

    await alone[0].sql("select pg_terminate_backend(%s)", pids[0])
    with pytest.raises(psycopg.OperationalError):
        await conns[0].execute("select pg_sleep(5)")
    for conn in conns[1:]:
        await conn.execute("select 1")
        await conn.commit()
    for conn in conns:
        await manager.putconn(conn)
    again = await hold(manager, 4)

    assert {conn.info.backend_pid for conn in again} > set(pids[1:])
    assert not recorder(manager).of(HostDown)
    for conn in again:
        await manager.putconn(conn)


async def test_a_restart_under_ten_idle_connections_fails_no_caller(
    alone: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(*alone, min_size=10, max_size=10)
    await fill(manager, 10)
    await alone[0].stop()
    await alone[0].start()
    began = monotonic()
    async with manager.connection() as conn:
        taken = monotonic() - began
        await conn.execute("select 1")

    assert taken < 1.5, taken  # 50 ms wanted where the restart was quicker than a probe


async def test_a_short_freeze_causes_no_outage_and_no_failure(
    alone: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(*alone, health_interval=0.1, health_timeout=0.2)
    async with Workload(manager) as work:
        await alone[0].freeze()
        await recorder(manager).wait_for(Stalled)
        assert (await manager.health()).ready  # a stall is not an outage
        assert (await manager.health()).status == "warn"

        await alone[0].thaw()
        back = await work.back(monotonic())

    assert back < 1.5, back
    assert not work.failed, work.errors()
    assert not recorder(manager).of(OutageStarted)
    assert (await recorder(manager).wait_for(StallEnded)).seconds > 0


@both_loops
async def test_a_freeze_beyond_stall_timeout_ends_queries_and_recovers_after_the_thaw(
    alone: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(*alone, health_interval=0.1, health_timeout=0.2, stall_timeout=1.0)
    async with Workload(manager) as work:
        began = monotonic()
        await alone[0].freeze()
        await recorder(manager).wait_for(OutageStarted)
        await until(lambda: len(work.failed) > 0)
        assert all(0.5 < item.ended - began < 2.0 for item in work.failed)

        await alone[0].thaw()
        back = await work.back(monotonic())

    assert back < 2.5, back  # 1 s wanted
    assert len(work.failed) <= 8, work.errors()
    # Which of the two depends on whether a COMMIT was under way.
    ended = (ConnectionAborted, CommitOutcomeUnknown)
    assert all(isinstance(item.error, ended) for item in work.failed), work.errors()
    assert recorder(manager).of(OutageEnded)


async def test_a_silent_network_to_the_only_server_fails_no_caller(
    alone: Cluster, moor: Callable[..., Any], proxies: Callable[..., Any]
) -> None:
    (door,) = proxies(alone)
    manager = await moor(door, health_interval=0.1, health_timeout=0.2)
    async with Workload(manager) as work:
        door.silent()
        await recorder(manager).wait_for(Stalled)
        door.heal()
        back = await work.back(monotonic())

    assert back < 2.0, back
    assert not work.failed, work.errors()


@both_loops
async def test_the_next_checkout_finds_connections_that_a_router_forgot(
    alone: Cluster, moor: Callable[..., Any], proxies: Callable[..., Any]
) -> None:
    (door,) = proxies(alone)
    manager = await moor(door, validate_after=0.0, health_timeout=0.3)
    await fill(manager, 4)
    door.silent(new=False)  # like a NAT that forgot them
    began = monotonic()
    async with manager.connection() as conn:
        taken = monotonic() - began
        await conn.execute("select 1")

    assert taken < 1.0, taken  # one ping, not four: its timeout condemns all idle ones
    assert not recorder(manager).of(OutageStarted)
    assert not recorder(manager).of(Failover)


async def test_repeated_resets_do_not_stop_callers(
    alone: Cluster, moor: Callable[..., Any], proxies: Callable[..., Any]
) -> None:
    (door,) = proxies(alone)
    manager = await moor(door, min_size=2, max_size=4)
    await manager.wait()
    door.reset()
    async with Workload(manager, tasks=4) as work:
        for _ in range(5):
            door.reset()
            await work.flowing(monotonic())

    assert all(isinstance(item.error, psycopg.OperationalError) for item in work.failed)


async def test_a_manager_that_gave_up_says_so_and_searches_again_after_reconnect(
    alone: Cluster, moor: Callable[..., Any]
) -> None:
    await alone[0].stop()
    manager = await moor(*alone, max_tries=3, backoff_base=0.01)
    waiter = asyncio.create_task(manager.getconn())
    event = await recorder(manager).wait_for(GaveUp)
    assert event.tries == 3
    with pytest.raises(NoHostAvailable, match="gave up"):
        await waiter
    with pytest.raises(NoHostAvailable, match="gave up"):
        await manager.getconn()
    assert (await manager.health()).state == "gave up"

    await alone[0].start()
    manager.reconnect()

    async with manager.connection(timeout=5) as conn:
        await conn.execute("select 1")
    ended = await recorder(manager).wait_for(OutageEnded)
    assert ended.seconds > event.seconds  # it counts from before the manager gave up


async def test_a_search_ends_after_max_time(alone: Cluster, moor: Callable[..., Any]) -> None:
    await alone[0].stop()
    manager = await moor(*alone, max_time=0.2, backoff_base=0.01)

    event = await recorder(manager).wait_for(GaveUp)

    assert 0.1 < event.seconds < 2.0


async def test_with_when_down_fail_an_outage_fails_callers_at_once(
    alone: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(*alone, when_down="fail", health_interval=0.1)
    await manager.wait()
    await alone[0].kill()
    await recorder(manager).wait_for(OutageStarted)
    began = monotonic()
    with pytest.raises(NoHostAvailable):
        await manager.getconn()

    assert monotonic() - began < 0.1


async def test_an_exhausted_pool_error_has_its_figures_and_the_longest_holders(
    alone: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(*alone, min_size=2, max_size=2)
    conns = await hold(manager, 2)
    with pytest.raises(PoolExhausted, match=r"size 2 of 2, used 2, idle 0, waiting \d.*held") as e:
        await manager.getconn(timeout=0.1)
    for conn in conns:
        await manager.putconn(conn)

    assert e.value.figures.used == 2
    assert len(e.value.holders) == 2


async def test_an_exhausted_pool_is_reported_once_a_minute_at_most(
    alone: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(*alone, min_size=1, max_size=1, max_waiting=1)
    (conn,) = await hold(manager, 1)
    waiting = asyncio.create_task(manager.getconn(timeout=0.2))
    await until(lambda: manager.get_stats()["requests_waiting"] == 1)
    with pytest.raises(TooManyRequests):
        await manager.getconn()
    with pytest.raises(PoolExhausted):
        await waiting
    await manager.putconn(conn)

    event = await recorder(manager).wait_for(PoolSaturated)
    assert (event.refused, event.used, event.waiting, event.max_size) == (1, 1, 1, 1)
    assert len(recorder(manager).of(PoolSaturated)) == 1


async def test_an_outage_is_not_reported_as_an_exhausted_pool(
    alone: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(*alone, max_waiting=1, health_interval=0.1)
    await manager.wait()
    await alone[0].kill()
    await recorder(manager).wait_for(OutageStarted)
    waiting = asyncio.create_task(manager.getconn(timeout=0.2))
    await until(lambda: manager.get_stats()["requests_waiting"] == 1)
    with pytest.raises(TooManyRequests):
        await manager.getconn()
    with pytest.raises(NoHostAvailable):
        await waiting

    assert not recorder(manager).of(PoolSaturated)
