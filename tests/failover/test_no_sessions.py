"""A host in use whose sessions live, and that accepts no new ones."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING, Any

import pytest

from pgmoor.events import Failback, Failover, HostDown, OutageStarted
from support import Workload, hold, recorder, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgmoor.testing import Cluster


@pytest.mark.parametrize("fault", ["refuse", "deaf"])
async def test_it_is_left_for_another_and_used_again_when_it_accepts_them(
    fault: str, pair: Cluster, moor: Callable[..., Any], proxies: Callable[..., Any]
) -> None:
    doors = proxies(pair)
    manager = await moor(
        *doors,
        target="any",
        min_size=1,
        max_size=4,
        failback_after=0.3,
        health_interval=0.2,
        health_timeout=0.4,
        kwargs={"connect_timeout": 30},  # a dial that is not answered counts long before
    )
    await manager.wait()
    held = await hold(manager, 1)
    getattr(doors[0], fault)()
    began = monotonic()
    callers = await asyncio.gather(*(manager.getconn(timeout=10) for _ in range(3)))
    left = monotonic() - began
    await held[0].execute("select 1")
    doors[0].heal()
    await recorder(manager).wait_for(Failback)

    assert left < 2.5, left  # 1.2 s wanted
    assert {conn.info.port for conn in callers} == {doors[1].port}
    assert [event.reason for event in recorder(manager).of(Failover)] == [
        f"{doors[0].host}:{doors[0].port} accepts no new connections"
    ]
    assert not recorder(manager).of(OutageStarted)
    for conn in (*held, *callers):
        assert not conn.broken
        await manager.putconn(conn)


async def test_callers_who_find_connections_notice_nothing(
    pair: Cluster, moor: Callable[..., Any], proxies: Callable[..., Any]
) -> None:
    doors = proxies(pair)
    manager = await moor(doors[0], min_size=2, max_size=4)
    await manager.wait()
    async with Workload(manager, tasks=2) as work:
        doors[0].refuse()
        held = asyncio.gather(*(manager.getconn(timeout=5) for _ in range(3)))
        await until(lambda: manager.snapshot().status == "warn")
        report = manager.snapshot()
        doors[0].heal()
        conns = await held
        await until(lambda: manager.snapshot().status == "pass")
        for conn in conns:
            await manager.putconn(conn)
        await work.flowing(monotonic())

    assert report.ready
    assert report.reason.startswith("no new connection can be made: ")
    assert not work.failed, work.errors()
    assert not recorder(manager).of(HostDown)
