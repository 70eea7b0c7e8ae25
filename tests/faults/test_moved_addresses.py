"""One address leads to several servers: what a connection itself says counts."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Any

from pgmoor.events import Failover, SplitBrain
from support import Workload, recorder

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgmoor.testing import Cluster


async def test_a_dial_that_reaches_the_old_primary_is_not_used(
    pair: Cluster, moor: Callable[..., Any], proxies: Callable[..., Any]
) -> None:
    doors = proxies(pair)
    manager = await moor(*doors, health_interval=0.05)
    async with Workload(manager, tasks=4) as work:
        await pair[0].kill()
        await pair[1].promote()
        await work.back(monotonic())
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


async def test_an_address_that_was_given_to_the_new_primary_is_found_again(
    pair: Cluster, moor: Callable[..., Any], proxies: Callable[..., Any]
) -> None:
    door, _ = proxies(pair)
    manager = await moor(door, target="primary")
    await manager.wait()
    # The old server lives on, demoted, and so does the probe's connection to it.
    await pair[0].demote()
    await pair[1].promote()
    door.retarget(pair[1].host, pair[1].port)
    async with Workload(manager, tasks=1) as work:  # waits until it flows
        assert work.acknowledged

    assert await pair[1].sql("select count(*) >= %s from work", len(work.acknowledged)) == [(True,)]
    assert await pair[0].sql("select count(*) from work") == [(0,)]
