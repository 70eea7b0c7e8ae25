"""The program blocks its own event loop: time in which nothing ran is no silence of a server."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import pytest

from pgmoor.events import (
    Connected,
    Failover,
    GaveUp,
    HostDown,
    OutageStarted,
    ReconnectFailed,
    Stalled,
)
from support import both_loops, recorder, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgmoor import ConnectionManager
    from pgmoor.testing import Cluster

BLOCKED = 1.0  # seconds; longer than every limit below
LIMITS = {
    "settle": 0.2,
    "health_timeout": 0.3,
    "health_interval": 0.2,
    "reconnect_timeout": 0.8,
    "max_time": 0.8,
    "stall_timeout": 0.8,
}
ALARMS = (OutageStarted, HostDown, GaveUp, ReconnectFailed, Stalled)


def alarms(manager: ConnectionManager) -> list[str]:
    return [str(event) for kind in ALARMS for event in recorder(manager).of(kind)]


async def turns(count: int) -> None:
    """Let the event loop turn as often as *count* says; the dials make a little way each time."""
    for _ in range(count):
        await asyncio.sleep(0)


async def until_left(manager: ConnectionManager) -> None:
    """Wait until the host in use is left, and not a turn of the loop longer."""
    while manager.snapshot().state == "ready":  # noqa: ASYNC110
        await asyncio.sleep(0)


@both_loops
@pytest.mark.parametrize("when", [0, 2, 20])
async def test_a_block_just_after_the_opening_is_no_outage(
    when: int, pair: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(*pair, **LIMITS)
    await turns(when)
    time.sleep(BLOCKED)  # noqa: ASYNC251  this is the fault
    await recorder(manager).wait_for(Connected)
    await manager.wait()

    assert not alarms(manager)


@pytest.mark.parametrize("when", [0, 2, 20])
async def test_a_block_just_after_a_host_was_left_is_no_outage(
    when: int, pair: Cluster, moor: Callable[..., Any], proxies: Callable[..., Any]
) -> None:
    doors = proxies(pair)
    manager = await moor(*doors, target="any", **LIMITS)
    await manager.wait()
    doors[0].refuse()
    doors[0].reset()
    await until_left(manager)
    await turns(when)
    time.sleep(BLOCKED)  # noqa: ASYNC251  this is the fault
    await recorder(manager).wait_for(Failover)
    await manager.wait()

    assert not recorder(manager).of(OutageStarted)
    assert not recorder(manager).of(GaveUp)
    assert [event.host for event in recorder(manager).of(HostDown)] == [
        f"127.0.0.1:{doors[0].port}"
    ]


@pytest.mark.parametrize("when", [0, 2, 20])
async def test_a_block_while_a_host_is_used_changes_nothing(
    when: int, pair: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(*pair, **LIMITS)
    await manager.wait()
    for _ in range(2):
        manager._runtime.live.evidence.requests.probe_all()
        await turns(when)
        time.sleep(BLOCKED)  # noqa: ASYNC251  this is the fault
        await manager.health(fresh=True)

    assert not alarms(manager)
    assert not recorder(manager).of(Failover)
    await until(lambda: manager.snapshot().status == "pass")
