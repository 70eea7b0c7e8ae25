"""Through a real PgBouncer, in session and in transaction mode."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import pytest

from support import Workload, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgmoor.testing import Cluster
    from services.pgbouncer import PgBouncer


@pytest.mark.parametrize("mode", ["session", "transaction"])
async def test_the_manager_finds_out_that_a_pooler_answers(
    alone: Cluster, pgbouncer: Callable[..., PgBouncer], moor: Callable[..., Any], mode: str
) -> None:
    manager = await moor(pgbouncer(alone[0], mode))
    async with manager.connection() as conn:
        assert conn.prepare_threshold is None

    assert manager.snapshot().hosts[0].pooled is True


async def test_a_server_without_a_pooler_is_no_pooler(
    alone: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(alone[0])
    async with manager.connection() as conn:
        assert conn.prepare_threshold == 5

    assert manager.snapshot().hosts[0].pooled is False


async def test_who_asks_for_prepared_statements_gets_them(
    alone: Cluster, pgbouncer: Callable[..., PgBouncer], moor: Callable[..., Any]
) -> None:
    manager = await moor(pgbouncer(alone[0], "session"), kwargs={"prepare_threshold": 2})
    async with manager.connection() as conn:
        assert conn.prepare_threshold == 2


@pytest.mark.parametrize("mode", ["session", "transaction"])
async def test_statements_that_repeat_do_not_break(
    alone: Cluster, pgbouncer: Callable[..., PgBouncer], moor: Callable[..., Any], mode: str
) -> None:
    """With prepared statements, a transaction on another server connection would not find them."""
    front = pgbouncer(alone[0], mode, default_pool_size="3")
    manager = await moor(front, min_size=2, max_size=2)

    async def work(number: int) -> None:
        for turn in range(20):
            async with manager.connection() as conn:
                row = await (await conn.execute("select %s::int + %s", [number, turn])).fetchone()
                assert row == (number + turn,)

    await asyncio.gather(*(work(number) for number in range(8)))


@pytest.mark.parametrize("mode", ["session", "transaction"])
async def test_the_server_behind_it_restarts(
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
async def test_a_cancelled_query_ends_on_the_server_too(
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


async def test_an_interrupted_pooler_is_an_outage_and_no_more(
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
