"""Through a real HAProxy, which sends new sessions to the primary that its checks find."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Any

import pytest

from pgmoor.events import Failback, Failover
from support import Workload, recorder, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgmoor import ConnectionManager
    from pgmoor.testing import Cluster, Node
    from services.haproxy import HAProxy


async def port_of(manager: ConnectionManager) -> int:
    """Return the port of the server behind HAProxy, as that server reports it."""
    async with manager.connection() as conn:
        row = await (await conn.execute("select inet_server_port()")).fetchone()
        assert row is not None
        return int(row[0])


async def rows_of(node: Node) -> set[str]:
    return {row[0] for row in await node.sql("select id from work")}


@pytest.mark.parametrize("target", ["any", "read-write", "primary"])
async def test_a_failover_behind_one_address(
    pair: Cluster, haproxy: Callable[..., HAProxy], moor: Callable[..., Any], target: str
) -> None:
    front = haproxy(pair.nodes)
    manager = await moor(front.primary, target=target, health_interval=0.2)
    async with Workload(manager, tasks=4) as workload:
        assert await port_of(manager) == pair[0].port
        await pair[0].kill()
        await pair[1].promote()
        promoted = monotonic()
        await workload.back(promoted)

    assert await port_of(manager) == pair[1].port
    assert workload.acknowledged_since(promoted) <= await rows_of(pair[1])


async def test_an_old_primary_that_haproxy_still_uses_gets_no_writes(
    pair: Cluster, haproxy: Callable[..., HAProxy], moor: Callable[..., Any]
) -> None:
    """HAProxy ignores timelines and sends new sessions to both; pgmoor checks each session."""
    front = haproxy(pair.nodes)
    manager = await moor(front.primary, target="primary", health_interval=0.2, max_lifetime=1)
    async with Workload(manager, tasks=4) as workload:
        await pair[0].kill()
        await pair[1].promote()
        await workload.back(monotonic())
        await pair[0].start()
        returned = monotonic()
        await until(lambda: front.sessions("primary", 0) > 0)
        seen = front.sessions("primary", 0)
        await until(lambda: front.sessions("primary", 0) > seen + 3, timeout=20)

    assert workload.acknowledged_since(returned)
    assert workload.acknowledged_since(returned) <= await rows_of(pair[1])


async def test_both_ports_as_hosts_for_reads(
    pair: Cluster, haproxy: Callable[..., HAProxy], moor: Callable[..., Any]
) -> None:
    """Reads go to a standby while there is one, otherwise to the primary, and then back."""
    front = haproxy(pair.nodes)
    manager = await moor(
        front.standbys,
        front.primary,
        target="prefer-standby",
        health_interval=0.2,
        failback_after=0.5,
    )
    assert await port_of(manager) == pair[1].port

    await pair[1].kill()
    await recorder(manager).wait_for(Failover)
    assert await port_of(manager) == pair[0].port

    await pair[1].start()
    await recorder(manager).wait_for(Failback)
    assert await port_of(manager) == pair[1].port


async def test_both_ports_as_hosts_for_writes(
    pair: Cluster, haproxy: Callable[..., HAProxy], moor: Callable[..., Any]
) -> None:
    """After the promotion the standbys' port has no server, so the primary's port is used."""
    front = haproxy(pair.nodes)
    manager = await moor(front.standbys, front.primary, health_interval=0.2)
    async with Workload(manager, tasks=4) as workload:
        await pair[0].kill()
        await pair[1].promote()
        # Until its next check HAProxy may send sessions of the standbys' port to the new primary;
        # then it cuts them.
        await until(lambda: manager.snapshot().hosts[1].current)
        await workload.back(monotonic())

    assert await port_of(manager) == pair[1].port


async def test_two_haproxies_before_the_same_servers(
    pair: Cluster, haproxy: Callable[..., HAProxy], moor: Callable[..., Any]
) -> None:
    """One primary behind two addresses is no split brain: the second address takes over."""
    fronts = [haproxy(pair.nodes), haproxy(pair.nodes)]
    manager = await moor(*(front.primary for front in fronts), health_interval=0.2)
    async with Workload(manager, tasks=4) as workload:
        fronts[0].stop()
        await workload.back(monotonic())
        assert manager.snapshot().hosts[1].current

        await pair[0].kill()
        await pair[1].promote()
        await workload.back(monotonic())

    assert await port_of(manager) == pair[1].port


async def test_no_server_behind_it_is_an_outage(
    alone: Cluster, haproxy: Callable[..., HAProxy], moor: Callable[..., Any]
) -> None:
    """HAProxy accepts and closes the connection, which counts as a host that is down."""
    front = haproxy(alone.nodes)
    manager = await moor(front.primary, timeout=20, health_interval=0.2)
    assert await port_of(manager) == alone[0].port
    await alone[0].kill()
    await until(lambda: not manager.snapshot().ready)
    await alone[0].start()
    assert await port_of(manager) == alone[0].port
