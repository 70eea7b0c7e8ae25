"""A manager that nobody uses falls quiet; whoever wants a connection wakes it."""

from __future__ import annotations

import asyncio
from time import monotonic, time
from typing import TYPE_CHECKING, Any

import pytest

from pgmoor import ConnectionManager, NoHostAvailable
from pgmoor import events as ev
from pgmoor._core.manager import runtime
from pgmoor.http import health_response
from support import Dials, both_loops, hold, recorder, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgmoor.testing import Cluster, FaultProxy, Node

AFTER = 0.2  # seconds
SESSIONS = "select count(*) from pg_stat_activity where application_name = 'pgmoor'"


async def quiet(manager: ConnectionManager) -> None:
    """Wait until the manager has fallen quiet again."""
    await until(lambda: manager.snapshot().state == "quiet")


async def sessions(node: Node) -> int:
    return int((await node.sql(SESSIONS))[0][0])


async def port_of(manager: ConnectionManager, timeout: float = 5) -> int:
    async with manager.connection(timeout=timeout) as conn:
        await conn.execute("select 1")
        return conn.info.port


@both_loops
async def test_a_quiet_manager_has_no_session_and_asks_nothing_until_a_caller_wakes_it(
    pair: Cluster, moor: Callable[..., Any], proxies: Callable[[Cluster], list[FaultProxy]]
) -> None:
    doors = proxies(pair)
    manager = await moor(*doors, quiet_after=AFTER, health_interval=0.05, keepalive_interval=0.05)
    dials = Dials()
    manager.instrument(dials)
    await manager.wait()
    (conn,) = await hold(manager, 1)
    assert conn.info.port == doors[0].port
    assert await sessions(pair[0]) >= 2  # one of the pool, and that of the probe
    assert await sessions(pair[1]) >= 1
    given_back = time()
    await manager.putconn(conn)
    fell = await recorder(manager).wait_for(ev.FellQuiet, where=lambda fell: fell.at > given_back)
    assert fell.seconds >= AFTER

    await until(lambda: all(door.connections == 0 for door in doors))
    asked = [door.round_trips for door in doors]
    while await sessions(pair[0]) + await sessions(pair[1]):  # noqa: ASYNC110
        await asyncio.sleep(0.01)  # until the servers have seen the farewells
    began = monotonic()
    health = await manager.health(fresh=True, timeout=5)
    assert monotonic() - began < 4  # it was not waited for
    await manager.drain()
    await manager.check()
    await manager.resize(4, 6)
    manager.reconnect(forget_timelines=True)
    manager.failback()
    await asyncio.sleep(0.3)  # six times `health_interval`

    assert (health.ready, health.live, health.status) == (True, True, "pass")
    assert (health.state, health.reason) == ("quiet", "quiet: the next caller wakes it")
    assert health_response(health).status_code == 200
    assert manager.snapshot().state == "quiet"
    assert [door.round_trips for door in doors] == asked
    assert [door.connections for door in doors] == [0, 0]

    before, so_far = dials.count, len(recorder(manager).events)
    ports = await asyncio.gather(*(port_of(manager) for _ in range(30)))
    assert set(ports) == {doors[0].port}
    assert dials.count - before <= 6
    await until(lambda: len(recorder(manager).events) > so_far)
    kinds = {type(event) for event in recorder(manager).events[so_far:]}
    assert [type(event) for event in recorder(manager).events[so_far:]].count(ev.Awoke) == 1
    assert kinds <= {ev.Awoke, ev.FellQuiet}


async def test_what_is_lent_keeps_a_manager_awake(alone: Cluster, moor: Callable[..., Any]) -> None:
    listening = await moor(alone[0], quiet_after=AFTER)
    (conn,) = await hold(listening, 1)
    await conn.execute("listen news")
    unused = await moor(alone[0], quiet_after=2 * AFTER)

    await recorder(unused).wait_for(ev.FellQuiet)
    assert listening.snapshot().state == "ready"
    assert await (await conn.execute("select 1")).fetchone() == (1,)

    await listening.putconn(conn)
    await quiet(listening)

    pool = listening.as_pool()  # a library that listens has a connection of its own
    conn = await pool.connection_class.connect(await pool._resolve_conninfo())
    recorder(unused).events.clear()
    await unused.wait()
    await recorder(unused).wait_for(ev.FellQuiet)
    assert listening.snapshot().state == "ready"
    assert await (await conn.execute("select 1")).fetchone() == (1,)

    await conn.close()
    await quiet(listening)


@pytest.mark.parametrize("fault", ["killed", "silent"])
async def test_a_primary_that_was_lost_meanwhile_is_found_out_by_the_caller_who_wakes_it(
    fault: str,
    pair: Cluster,
    moor: Callable[..., Any],
    proxies: Callable[[Cluster], list[FaultProxy]],
) -> None:
    doors = proxies(pair)
    manager = await moor(*doors, quiet_after=AFTER)
    assert await port_of(manager) == doors[0].port
    await quiet(manager)
    if fault == "killed":
        await pair[0].kill()
    else:
        doors[0].silent()
    await pair[1].promote()

    began = monotonic()
    ports = await asyncio.gather(*(port_of(manager) for _ in range(8)))

    assert set(ports) == {doors[1].port}
    assert monotonic() - began < 2.0  # `settle`, and what it takes to connect
    failover = await recorder(manager).wait_for(ev.Failover)
    assert failover.before.endswith(str(doors[0].port))
    assert failover.after.endswith(str(doors[1].port))
    assert failover.reason == "another host was chosen when the manager woke"
    assert not recorder(manager).of(ev.OutageStarted)


async def test_the_old_primary_that_is_back_alone_is_not_used_when_it_wakes(
    pair: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(*pair.nodes, quiet_after=AFTER)
    await pair[0].kill()
    await pair[1].promote()
    assert await port_of(manager, timeout=10) == pair[1].port
    await quiet(manager)
    await pair[1].kill()
    await pair[0].start()  # as it was: its writes would be lost

    with pytest.raises(NoHostAvailable, match="timeline"):
        await port_of(manager, timeout=1)


async def test_a_database_that_takes_long_to_wake_is_no_outage_but_one_that_is_gone_is(
    alone: Cluster, moor: Callable[..., Any], proxies: Callable[[Cluster], list[FaultProxy]]
) -> None:
    (door,) = proxies(alone)
    manager = await moor(
        door, quiet_after=AFTER, when_down="fail", kwargs={"connect_timeout": 1}, min_size=1
    )
    await port_of(manager)
    await quiet(manager)
    door.delay(0.05)
    began = monotonic()
    await port_of(manager)
    assert monotonic() - began > manager._settings.settle
    assert not recorder(manager).of(ev.OutageStarted)

    door.heal()
    await quiet(manager)
    door.refuse()
    with pytest.raises(NoHostAvailable):
        await port_of(manager, timeout=10)
    assert manager.snapshot().state == "outage"
    door.heal()
    await recorder(manager).wait_for(ev.OutageEnded)
    await quiet(manager)


async def test_waiting_for_the_pool_wakes_a_manager_and_closing_does_not(
    alone: Cluster, moor: Callable[..., Any], proxies: Callable[[Cluster], list[FaultProxy]]
) -> None:
    (door,) = proxies(alone)
    manager = await moor(door, min_size=2, max_size=2, quiet_after=AFTER)
    for wait in (manager.wait, manager.wait_ready):
        await quiet(manager)
        so_far = len(recorder(manager).of(ev.Awoke))
        await wait(timeout=5)
        await until(lambda seen=so_far: len(recorder(manager).of(ev.Awoke)) > seen)  # type: ignore[misc]
    await quiet(manager)
    asked = door.round_trips

    began = monotonic()
    await manager.close(timeout=5)

    assert monotonic() - began < 1
    assert door.round_trips == asked
    assert manager.snapshot().state == "closed"


async def test_the_task_that_would_wake_a_manager_is_started_again_if_something_cancels_it(
    alone: Cluster,
    moor: Callable[..., Any],
    proxies: Callable[[Cluster], list[FaultProxy]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(runtime, "RESTART_AFTER", 0.05)
    (door,) = proxies(alone)
    manager = await moor(door, quiet_after=AFTER)
    await quiet(manager)
    for task in asyncio.all_tasks():
        if task.get_name() == f"{manager.name}-background":
            task.cancel()

    await until(lambda: not manager.snapshot().live)
    await until(lambda: manager.snapshot().live)
    await until(lambda: door.connections == 0)
    assert manager.snapshot().state == "quiet"
    assert manager.snapshot().ready
    assert await port_of(manager) == door.port


async def test_a_quiet_manager_calls_no_callable_and_asks_for_the_list_as_it_wakes(
    pair: Cluster,
) -> None:
    listed, asked = [pair[0]], {"hosts": 0, "password": 0}

    def hosts() -> list[str]:
        asked["hosts"] += 1
        return [f"{node.host}:{node.port}" for node in listed]

    def password() -> str:
        asked["password"] += 1
        return "any"

    async with ConnectionManager(
        "user=postgres dbname=postgres",
        hosts=hosts,
        password=password,
        target="primary",
        hosts_interval=0.05,
        quiet_after=AFTER,
    ) as manager:
        assert await port_of(manager) == pair[0].port
        await quiet(manager)
        before = dict(asked)
        listed[:] = [pair[1]]
        await pair[0].kill()
        await pair[1].promote()
        await asyncio.sleep(0.2)  # four times `hosts_interval`
        assert asked == before

        began = monotonic()
        assert await port_of(manager) == pair[1].port
        assert monotonic() - began < 2.0


async def test_a_manager_that_wakes_begins_with_the_preferred_host(
    equals: list[FaultProxy], moor: Callable[..., Any]
) -> None:
    preferred, other = equals
    preferred.refuse()
    manager = await moor(*equals, target="any", failback="manual", quiet_after=AFTER)
    assert await port_of(manager) == other.port
    preferred.heal()
    await quiet(manager)

    assert await port_of(manager) == preferred.port
    await recorder(manager).wait_for(ev.Failover)
    assert len(recorder(manager).of(ev.Failover)) == 1
    assert not recorder(manager).of(ev.Failback)
