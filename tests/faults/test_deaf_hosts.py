"""A host that accepts connections and answers nothing: few of them are left to it."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Any

import pytest

from pgmoor import NoHostAvailable, PoolExhausted
from pgmoor import events as ev
from support import both_loops, fill, recorder, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgmoor.testing import Cluster

QUICK = {"health_interval": 0.05, "health_timeout": 0.1, "min_size": 1, "timeout": 10}


@both_loops
async def test_a_probe_leaves_two_dials_to_a_host_that_does_not_answer(
    alone: Cluster, moor: Callable[..., Any], proxies: Callable[..., Any]
) -> None:
    """They are answered when it does; one a health check would fill its queue."""
    (door,) = proxies(alone)
    door.deaf()
    manager = await moor(door, **QUICK, kwargs={"connect_timeout": 0.2})
    await until(lambda: manager.snapshot().hosts[0].status == "silent")
    began = monotonic()
    await until(lambda: monotonic() - began > 1)
    left = door.accepted
    door.heal()
    await manager.wait(timeout=5)

    assert left == 2


@pytest.mark.parametrize("fault", ["silent", "deaf"])
async def test_lost_sessions_and_dials_that_wait_are_few(
    fault: str, alone: Cluster, moor: Callable[..., Any], proxies: Callable[..., Any]
) -> None:
    (door,) = proxies(alone)
    manager = await moor(door, **QUICK, max_size=4, stall_timeout=30, validate_after=60)
    await fill(manager, 2)
    before, came = door.accepted, len(recorder(manager).of(ev.OutageStarted))
    getattr(door, fault)()
    if fault == "silent":
        await recorder(manager).wait_for(ev.Stalled)
    conns = [await manager.getconn() for _ in range(2)]
    with pytest.raises((PoolExhausted, NoHostAvailable)):  # its dial waits
        await manager.getconn(timeout=1)
    waiting = door.accepted - before
    door.heal()
    for conn in conns:
        await conn.execute("select 1")
        await manager.putconn(conn)
    await manager.wait(timeout=5)

    assert waiting <= 3  # one of the pool, and two of the probe
    assert len(recorder(manager).of(ev.OutageStarted)) == came
