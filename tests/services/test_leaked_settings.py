"""A client's settings that stay on one server connection of a PgBouncer are not the server's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg

from pgmoor.events import Connected, Failover, OutageStarted, RoleChanged
from support import Workload, probed, recorder, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgmoor.testing import Cluster
    from services.pgbouncer import PgBouncer

LEAK = "set session characteristics as transaction read only"


async def test_a_session_that_another_client_left_read_only_does_not_change_the_server_s_role(
    alone: Cluster, pgbouncer: Callable[..., PgBouncer], moor: Callable[..., Any]
) -> None:
    front = pgbouncer(alone[0], "transaction", default_pool_size="3")
    manager = await moor(front, target="primary", health_interval=0.05, min_size=2, max_size=4)
    async with (
        Workload(manager, tasks=4) as work,
        await psycopg.AsyncConnection.connect(
            f"host={front.host} port={front.port} user=postgres dbname=postgres", autocommit=True
        ) as other,
    ):
        await other.execute(LEAK)
        await until(
            lambda: any(
                isinstance(item.error, psycopg.errors.ReadOnlySqlTransaction)
                for item in work.failed
            )
        )
        for _ in range(30):  # more probes than there are server connections
            await probed(manager, 0)

    assert manager.snapshot().hosts[0].writable
    assert recorder(manager).of(RoleChanged) == []
    assert recorder(manager).of(OutageStarted) == []
    assert recorder(manager).of(Failover) == []
    assert len(recorder(manager).of(Connected)) == 1


async def test_a_server_that_is_demoted_behind_a_pooler_is_seen_so(
    alone: Cluster, pgbouncer: Callable[..., PgBouncer], moor: Callable[..., Any]
) -> None:
    manager = await moor(pgbouncer(alone[0], "transaction"), target="primary", health_interval=0.05)
    await manager.wait()

    await alone[0].demote()

    await recorder(manager).wait_for(OutageStarted)
