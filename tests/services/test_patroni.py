"""With three nodes of a real Patroni, which fails over by itself."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from pgmoor import ConnectionManager
from pgmoor.events import Failover, HostsChanged, SplitBrain
from services.discover_patroni import hosts_of
from support import Recorder, Workload, recorder, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.haproxy import HAProxy
    from services.patroni import Member, Patroni


async def rows_of(member: Member) -> set[str]:
    async with await psycopg.AsyncConnection.connect(member.conninfo) as conn:
        rows = await (await conn.execute("select id from work")).fetchall()
    return {row[0] for row in rows}


def current(manager: ConnectionManager) -> str | None:
    return next((host.host for host in manager.snapshot().hosts if host.current), None)


def address(member: Member) -> str:
    return f"{member.host}:{member.port}"


async def test_the_leader_is_lost_and_comes_back_as_a_standby(
    patroni: Patroni, haproxy: Callable[..., HAProxy], moor: Callable[..., Any]
) -> None:
    """One manager lists the nodes, one asks Patroni for them, and one is behind HAProxy."""
    old = await asyncio.to_thread(patroni.wait_complete)
    apis = [member.api for member in patroni.members]
    listed = await moor(*patroni.members, timeout=30)
    proxied = await moor(haproxy(patroni.members).primary, timeout=30, health_interval=0.2)
    async with ConnectionManager(
        "user=postgres dbname=postgres",
        hosts=lambda: hosts_of(apis),
        hosts_interval=0.2,
        timeout=30,
    ) as discovered:
        seen = Recorder(discovered)
        async with (
            Workload(listed, tasks=2, name="listed-") as one,
            Workload(discovered, tasks=2, name="discovered-") as two,
            Workload(proxied, tasks=2, name="proxied-") as three,
        ):
            workloads = [one, two, three]
            assert current(listed) == current(discovered) == address(old)
            old.kill()
            killed = monotonic()
            await asyncio.gather(*(workload.back(killed) for workload in workloads))
            failed = [workload.errors() for workload in workloads]
            await seen.wait_for(HostsChanged, 20, where=lambda event: event.gone == (address(old),))

            patroni.revive()
            await seen.wait_for(
                HostsChanged, 20, where=lambda event: event.added == (address(old),)
            )
            new = await asyncio.to_thread(patroni.wait_complete)
            await until(lambda: all(host.status == "up" for host in listed.snapshot().hosts))
            now = monotonic()
            await asyncio.gather(*(workload.flowing(now) for workload in workloads))
            assert [workload.errors() for workload in workloads] == failed

        assert current(listed) == current(discovered) == address(new) != address(old)
        assert len(seen.of(Failover)) == len(recorder(listed).of(Failover)) == 1
        assert recorder(listed).of(SplitBrain) == seen.of(SplitBrain) == []
    kept = await rows_of(new)
    assert all(workload.acknowledged_since(killed) <= kept for workload in workloads)


@pytest.mark.thorough
async def test_a_planned_switchover(patroni: Patroni, moor: Callable[..., Any]) -> None:
    """Patroni stops the leader, promotes another node and restarts the first as a standby."""
    manager = await moor(*patroni.members, timeout=30)
    old = await asyncio.to_thread(patroni.wait_complete)
    candidate = next(member for member in patroni.members if member is not old)
    async with Workload(manager, tasks=4) as workload:
        switchover = {"leader": old.name, "candidate": candidate.name}
        status, text = await asyncio.to_thread(old.call, "/switchover", switchover)
        assert status == 200, text
        await workload.back(monotonic())
        assert current(manager) == address(candidate)
        assert await asyncio.to_thread(patroni.wait_complete) is candidate

    assert set(workload.acknowledged) <= await rows_of(candidate)
