"""One address leads to several servers, or two to one: each connection is asked who it reached."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Any

from pgmoor.events import Failover, SplitBrain
from server_log import ServerLog
from support import Workload, fail_over, hold, recorder, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgmoor.testing import Cluster, FaultProxy


async def test_a_dial_that_reaches_the_old_primary_is_not_used(
    pair: Cluster, moor: Callable[..., Any], proxies: Callable[..., Any]
) -> None:
    doors = proxies(pair)
    manager = await moor(*doors, health_interval=0.05)
    async with Workload(manager, tasks=4) as work:
        await fail_over(pair, work)
        await recorder(manager).wait_for(Failover)
        await pair[0].start()
        ((before,),) = await pair[0].sql("select count(*) from work")

        # The probe's connection still leads to the new primary, new ones to the old.
        doors[1].retarget(pair[0].host, pair[0].port)
        await manager.drain()
        await recorder(manager).wait_for(
            SplitBrain, where=lambda e: e.host.endswith(str(doors[1].port))
        )
        doors[1].retarget(pair[1].host, pair[1].port)
        await work.flowing(monotonic())

    assert await pair[0].sql("select count(*) from work") == [(before,)]


async def test_an_address_that_moved_to_the_new_primary_is_found_again(
    pair: Cluster, moor: Callable[..., Any], proxies: Callable[..., Any]
) -> None:
    door, _ = proxies(pair)
    manager = await moor(door, target="primary")
    await manager.wait()
    # The old server lives on, demoted, and so does the probe's connection to it.
    await pair[0].demote()
    await pair[1].promote()
    door.retarget(pair[1].host, pair[1].port)
    async with Workload(manager, tasks=1) as work:  # waits until a row is committed
        assert work.acknowledged

    assert await pair[1].sql("select count(*) >= %s from work", len(work.acknowledged)) == [(True,)]
    assert await pair[0].sql("select count(*) from work") == [(0,)]


async def test_when_an_address_moves_to_the_new_primary_connections_to_the_old_one_end(
    trio: Cluster, moor: Callable[..., Any], proxies: Callable[..., Any]
) -> None:
    door, *_ = proxies(trio)
    manager = await moor(door, target="primary", min_size=2, max_size=4)
    await manager.wait()
    await trio[1].promote()
    # Like a name that leads elsewhere: established connections stay where they are.
    door.retarget(trio[1].host, trio[1].port)
    for conn in await hold(manager, 4):  # two of them are dialled now
        await manager.putconn(conn)
    log = ServerLog(trio[0])
    for conn in await hold(manager, 4):
        await conn.execute("insert into work (id) values ('x')")
        await conn.commit()
        await manager.putconn(conn)

    assert await trio[1].sql("select count(*) from work") == [(4,)]
    assert not log.statements()


async def test_one_server_under_two_addresses_is_no_rival_of_itself(
    alone: Cluster, equals: list[FaultProxy], moor: Callable[..., Any]
) -> None:
    first, second = equals
    first.delay(0.03)  # the second one shows the restart first
    manager = await moor(first, second, health_interval=0.3, min_size=1)
    await manager.wait()
    before = _servers(manager)
    await alone[0].stop("immediate")
    await alone[0].start()
    await until(lambda: not before & _servers(manager))
    await manager.health(fresh=True)

    assert not recorder(manager).of(SplitBrain)


def _servers(manager: Any) -> set[str | None]:
    """Return when the servers that the manager knows were started."""
    return {state.started for state in manager._runtime.live.evidence.table}
