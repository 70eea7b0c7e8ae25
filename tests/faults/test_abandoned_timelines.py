"""A promotion is undone, or a server set back: nobody is on the newest timeline that was seen."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Any

import pytest

from pgmoor import NoHostAvailable
from pgmoor.events import Connected, Failover, OutageEnded, SplitBrain
from support import Workload, probed, recorder, reset, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgmoor.testing import Cluster

BRISK = {"health_interval": 0.1}


async def _undo_the_promotion(cluster: Cluster, manager: Any) -> None:
    """Promote the second server, lose it, and bring the first one back as primary."""
    await manager.wait()
    await cluster[0].kill()
    await cluster[1].promote()
    await recorder(manager).wait_for(Failover)
    await cluster[1].kill()
    await cluster[0].start()
    await recorder(manager).wait_for(SplitBrain)


async def test_a_promotion_that_was_undone_is_said_and_forgotten_when_a_person_says_so(
    pair: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(*pair.nodes, **BRISK)
    await _undo_the_promotion(pair, manager)

    with pytest.raises(NoHostAvailable) as caught:
        async with manager.connection(timeout=0.5):
            pass
    health = await manager.health()
    seen = f"timeline 2 was seen on 127.0.0.1:{pair[1].port} at 20"
    assert seen in str(caught.value)
    assert "reconnect(forget_timelines=True)" in str(caught.value)
    assert health.status == "fail"
    assert seen in health.reason
    assert seen in str(health.hosts[0].stale_because)

    manager.reconnect(forget_timelines=True)

    async with manager.connection(timeout=10) as conn:
        assert conn.info.port == pair[0].port
    assert not manager.snapshot().hosts[0].stale
    assert recorder(manager).of(OutageEnded)

    await pair[1].rejoin(pair[0])
    await probed(manager, 1)
    async with Workload(manager, tasks=2) as work:
        await work.flowing(monotonic())
    assert work.failed == []


async def test_a_newer_primary_that_comes_back_after_all_is_the_primary_again(
    pair: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(*pair.nodes, **BRISK)
    await _undo_the_promotion(pair, manager)
    manager.reconnect(forget_timelines=True)
    async with manager.connection(timeout=10) as conn:
        assert conn.info.port == pair[0].port

    await pair[1].start()

    back = f"127.0.0.1:{pair[1].port}"
    await until(
        lambda: any(host.current and host.host == back for host in manager.snapshot().hosts)
    )
    async with manager.connection(timeout=10) as conn:
        assert conn.info.port == pair[1].port


async def test_forgetting_does_not_lift_the_fence_while_the_newer_primary_lives(
    pair: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(*pair.nodes, **BRISK)
    await manager.wait()
    await pair[0].kill()
    await pair[1].promote()
    await recorder(manager).wait_for(Failover)
    await pair[0].start()
    await recorder(manager).wait_for(SplitBrain)

    manager.reconnect(forget_timelines=True)
    for host in (0, 1, 0, 1):
        await probed(manager, host)

    assert [host.stale for host in manager.snapshot().hosts] == [True, False]
    assert len(recorder(manager).of(Failover)) == 1


@pytest.mark.thorough
async def test_the_only_server_is_no_rival_of_its_own_past(
    alone: Cluster, moor: Callable[..., Any]
) -> None:
    node = alone[0]
    await node.stop("fast")
    (node.data_dir / "standby.signal").touch()
    await node.start()
    await node.promote()
    manager = await moor(node, target="primary", **BRISK)
    await manager.wait()
    assert manager.snapshot().hosts[0].timeline == 2

    await node.kill()
    await reset(alone)  # it is set back to the snapshot that was made of it on timeline 1

    async with manager.connection(timeout=20):
        pass
    host = manager.snapshot().hosts[0]
    assert (host.timeline, host.stale, host.current) == (1, False, True)
    assert len(recorder(manager).of(Connected)) == 1
