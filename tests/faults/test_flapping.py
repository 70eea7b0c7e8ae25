"""A host that comes and goes: nobody moves more often than `failback_after` allows."""

from __future__ import annotations

from itertools import pairwise
from time import monotonic
from typing import TYPE_CHECKING, Any

import psycopg
import psycopg_pool

from pgmoor.events import Failback, Failover, HostDown, HostUp, OutageEnded, OutageStarted
from support import Workload, recorder, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgmoor import ConnectionManager
    from pgmoor.events import Event
    from pgmoor.testing import Cluster, FaultProxy

STABLE = 0.3  # seconds: `failback_after`


async def test_a_preferred_host_that_flaps_causes_one_failover_for_each_failback(
    equals: list[FaultProxy], moor: Callable[..., Any]
) -> None:
    first, second = equals
    manager = await moor(first, second, failback_after=STABLE, health_interval=0.05)
    async with Workload(manager) as work:
        for times in range(1, 7):
            first.refuse()
            first.reset()
            await _all(manager, HostDown, times)
            await work.flowing(monotonic())
            first.heal()
            await _all(manager, HostUp, 2 + times)
            if times % 2 == 0:
                # This time it stays for long enough.
                await _all(manager, Failback, times // 2)
                await work.flowing(monotonic())

    moves = recorder(manager).of(Failover)
    assert len(moves) == len(recorder(manager).of(Failback)) == 3
    assert all(later.at - earlier.at > STABLE for earlier, later in pairwise(moves))
    _only_in_flight(work, 8 * len(moves))


async def test_a_host_that_flaps_within_failback_after_causes_one_failover(
    equals: list[FaultProxy], moor: Callable[..., Any]
) -> None:
    first, second = equals
    manager = await moor(first, second, health_interval=0.05)
    async with Workload(manager) as work:
        for _ in range(6):
            first.refuse()
            first.reset()
            await work.flowing(monotonic())
            first.heal()
            await work.flowing(monotonic())

    assert len(recorder(manager).of(Failover)) == 1
    assert not recorder(manager).of(Failback)


async def test_when_the_only_server_flaps_callers_wait_each_time(
    alone: Cluster, moor: Callable[..., Any], proxies: Callable[..., Any]
) -> None:
    (door,) = proxies(alone)
    manager = await moor(door)
    async with Workload(manager) as work:
        for times in range(1, 3):
            door.refuse()
            door.reset()
            await _all(manager, OutageStarted, times)
            door.heal()
            healed = monotonic()
            assert await work.back(healed) < 2.0  # 1 s wanted
            assert len(recorder(manager).of(OutageEnded)) == times

    _only_in_flight(work, 8 * 2)


async def _all(manager: ConnectionManager, kind: type[Event], count: int) -> None:
    """Wait until there have been *count* events of a kind."""
    await until(lambda: len(recorder(manager).of(kind)) >= count)


def _only_in_flight(work: Workload, most: int) -> None:
    assert len(work.failed) <= most, work.errors()
    for item in work.failed:
        assert isinstance(item.error, psycopg.OperationalError), work.errors()
        assert not isinstance(item.error, psycopg_pool.PoolTimeout), work.errors()
