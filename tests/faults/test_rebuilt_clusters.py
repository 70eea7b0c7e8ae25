"""A cluster is rebuilt, by pg_upgrade or from a backup: its servers have another identifier."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from pgmoor.events import ClusterRebuilt, Failover, ForeignHost
from pgmoor.testing import Cluster
from support import recorder, until

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.mark.thorough
async def test_a_rebuilt_primary_is_used_while_its_standby_is_still_off(
    pair: Cluster, moor: Callable[..., Any], proxies: Callable[..., Any]
) -> None:
    first, second = proxies(pair)
    manager = await moor(first, second, health_interval=0.1)
    await manager.wait()
    await pair[1].kill()
    await pair[0].kill()
    async with Cluster(standbys=0) as rebuilt:
        first.retarget(rebuilt[0].host, rebuilt[0].port)
        first.heal()

        async with manager.connection(timeout=30) as conn:
            row = await (await conn.execute("select inet_server_port()")).fetchone()
            assert row == (rebuilt[0].port,)
        event = await recorder(manager).wait_for(ClusterRebuilt)
        assert event.host == f"127.0.0.1:{first.port}"

        await pair[1].start()  # the old standby is of another cluster now
        await recorder(manager).wait_for(
            ForeignHost, where=lambda event: event.host == f"127.0.0.1:{second.port}"
        )
        await until(lambda: manager.snapshot().hosts[1].status == "up")
        assert manager.snapshot().hosts[0].current
        assert recorder(manager).of(Failover) == []


async def test_a_server_of_another_cluster_at_the_primary_s_address_is_not_used_beside_a_standby(
    pair: Cluster, moor: Callable[..., Any], proxies: Callable[..., Any]
) -> None:
    first, second = proxies(pair)
    manager = await moor(first, second, health_interval=0.1)
    await manager.wait()
    async with Cluster(standbys=0) as other:
        first.retarget(other[0].host, other[0].port)
        first.reset()
        await recorder(manager).wait_for(ForeignHost)
        await pair[1].promote()
        await recorder(manager).wait_for(Failover)

    assert recorder(manager).of(ClusterRebuilt) == []
