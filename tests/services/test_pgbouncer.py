"""Through a real PgBouncer, in session and in transaction mode."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import pytest

from pgmoor import NoHostAvailable
from support import Workload, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgmoor.testing import Cluster
    from services.pgbouncer import PgBouncer


@pytest.mark.parametrize("mode", ["session", "transaction"])
async def test_the_manager_detects_the_pooler(
    alone: Cluster, pgbouncer: Callable[..., PgBouncer], moor: Callable[..., Any], mode: str
) -> None:
    manager = await moor(pgbouncer(alone[0], mode))
    async with manager.connection() as conn:
        assert conn.prepare_threshold is None

    assert manager.snapshot().hosts[0].pooled is True


async def test_the_manager_detects_that_there_is_no_pooler(
    alone: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(alone[0])
    async with manager.connection() as conn:
        assert conn.prepare_threshold == 5

    assert manager.snapshot().hosts[0].pooled is False


async def test_prepare_threshold_can_be_set_in_spite_of_the_pooler(
    alone: Cluster, pgbouncer: Callable[..., PgBouncer], moor: Callable[..., Any]
) -> None:
    manager = await moor(pgbouncer(alone[0], "session"), kwargs={"prepare_threshold": 2})
    async with manager.connection() as conn:
        assert conn.prepare_threshold == 2


@pytest.mark.parametrize("mode", ["session", "transaction"])
async def test_repeated_statements_work(
    alone: Cluster, pgbouncer: Callable[..., PgBouncer], moor: Callable[..., Any], mode: str
) -> None:
    """A statement prepared on one server connection would be missing on the others."""
    front = pgbouncer(alone[0], mode, default_pool_size="3")
    manager = await moor(front, min_size=2, max_size=2)

    async def work(number: int) -> None:
        for turn in range(20):
            async with manager.connection() as conn:
                row = await (await conn.execute("select %s::int + %s", [number, turn])).fetchone()
                assert row == (number + turn,)

    await asyncio.gather(*(work(number) for number in range(8)))


@pytest.mark.parametrize("mode", ["session", "transaction"])
async def test_work_continues_after_the_server_behind_the_pooler_restarts(
    alone: Cluster, pgbouncer: Callable[..., PgBouncer], moor: Callable[..., Any], mode: str
) -> None:
    manager = await moor(pgbouncer(alone[0], mode), timeout=10, health_interval=0.2)
    async with AsyncExitStack() as stack:
        workload = await stack.enter_async_context(Workload(manager, tasks=4))
        await alone[0].kill()
        await alone[0].start()
        await workload.back(0.0)


async def test_a_failover_between_two_poolers(
    pair: Cluster, pgbouncer: Callable[..., PgBouncer], moor: Callable[..., Any]
) -> None:
    fronts = [pgbouncer(node, "transaction") for node in pair.nodes]
    manager = await moor(*fronts, health_interval=0.2)
    async with Workload(manager, tasks=4) as workload:
        await pair[0].kill()
        await pair[1].promote()
        await workload.back(0.0)

    assert manager.snapshot().hosts[1].current
    assert all(host.pooled for host in manager.snapshot().hosts if host.status == "up")


@pytest.mark.parametrize("mode", ["session", "transaction"])
async def test_a_cancelled_query_also_ends_on_the_server(
    alone: Cluster, pgbouncer: Callable[..., PgBouncer], moor: Callable[..., Any], mode: str
) -> None:
    manager = await moor(pgbouncer(alone[0], mode), min_size=1, max_size=1)
    async with manager.connection() as conn:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await conn.execute("select pg_sleep(60)")
        await conn.rollback()
        sleeping = (
            "select count(*) from pg_stat_activity"
            " where query = 'select pg_sleep(60)' and state = 'active'"
        )
        assert await (await conn.execute(sleeping)).fetchone() == (0,)


async def test_a_restarted_pooler_is_an_outage_that_ends(
    alone: Cluster, pgbouncer: Callable[..., PgBouncer], moor: Callable[..., Any]
) -> None:
    front = pgbouncer(alone[0], "transaction")
    manager = await moor(front, timeout=10, health_interval=0.2)
    await manager.wait()
    front.stop()
    await until(lambda: not manager.snapshot().ready)
    front.start()
    async with manager.connection() as conn:
        assert await (await conn.execute("select 1")).fetchone() == (1,)


@pytest.mark.parametrize(
    ("settings", "kind"),
    [
        pytest.param({"max_client_conn": "0"}, "saturated", id="no room"),
        pytest.param({"auth_type": "trust"}, "credentials", id="an unknown user"),
    ],
)
async def test_a_pooler_s_refusal_is_understood(
    alone: Cluster,
    pgbouncer: Callable[..., PgBouncer],
    moor: Callable[..., Any],
    settings: dict[str, str],
    kind: str,
) -> None:
    """PgBouncer gives the SQLSTATE 08P01, a broken connection, to nearly everything."""
    manager = await moor(pgbouncer(alone[0], "session", **settings), health_interval=0.1)
    await until(lambda: manager.snapshot().hosts[0].age is not None)

    assert manager.snapshot().hosts[0].failure_kind == kind


async def test_an_error_names_the_limit_that_applied(
    alone: Cluster, pgbouncer: Callable[..., PgBouncer], moor: Callable[..., Any]
) -> None:
    """The probe's session takes the only server connection, so that a dial's question waits."""
    front = pgbouncer(alone[0], "session", default_pool_size="1")
    manager = await moor(front, min_size=1, health_timeout=0.4)

    with pytest.raises(NoHostAvailable) as caught:
        async with manager.connection(timeout=2):
            pass

    assert "no answer to a health check within 0.4 s" in str(caught.value)
    assert "within 5 s" not in str(caught.value)
