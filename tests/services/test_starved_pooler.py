"""A pooler that has no server connection left, or is paused: its clients wait, and it lives."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING, Any

import pytest

from pgmoor import events as ev
from support import recorder, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgmoor import ConnectionManager
    from pgmoor.testing import Cluster
    from services.pgbouncer import PgBouncer

QUICK = {"health_interval": 0.1, "health_timeout": 0.2, "stall_timeout": 0.6, "min_size": 1}
TROUBLE = (ev.Stalled, ev.OutageStarted, ev.Failover, ev.HostDown)


def untroubled(manager: ConnectionManager) -> bool:
    return not any(isinstance(event, TROUBLE) for event in recorder(manager).events)


async def sleeps(manager: ConnectionManager, seconds: float) -> None:
    async with manager.connection() as conn:
        await conn.execute("select pg_sleep(%s)", [seconds])


async def test_nothing_is_cut_while_statements_are_answered(
    pair: Cluster, pgbouncer: Callable[..., PgBouncer], moor: Callable[..., Any]
) -> None:
    """Ten callers share two server connections: the probe's question waits longer than it may."""
    fronts = [pgbouncer(node, "transaction", default_pool_size="2") for node in pair.nodes]
    manager = await moor(*fronts, max_size=10, target="any", **QUICK)
    await manager.wait()

    async def call() -> None:
        for _ in range(4):
            await sleeps(manager, 0.15)

    began = monotonic()
    await asyncio.gather(*(call() for _ in range(10)))

    assert monotonic() - began > 2.5
    assert untroubled(manager), recorder(manager).events
    assert manager.snapshot().hosts[0].current


async def test_statements_outlive_a_pause_longer_than_the_stall_timeout(
    alone: Cluster, pgbouncer: Callable[..., PgBouncer], moor: Callable[..., Any]
) -> None:
    front = pgbouncer(alone[0], "transaction", default_pool_size="2")
    manager = await moor(front, max_size=4, timeout=10, **QUICK)
    await manager.wait()
    long = [asyncio.create_task(sleeps(manager, 2)) for _ in range(2)]
    await alone[0].wait_for(
        "select count(*) = 2 from pg_stat_activity where query = 'select pg_sleep($1)'"
    )

    front.pause()
    waiting = [asyncio.create_task(sleeps(manager, 0)) for _ in range(4)]
    await asyncio.gather(*long)
    assert not any(task.done() for task in waiting)
    front.resume()
    await asyncio.gather(*waiting)

    assert untroubled(manager), recorder(manager).events


async def test_a_paused_pooler_has_one_waiting_session_of_each_probe(
    alone: Cluster, pgbouncer: Callable[..., PgBouncer], moor: Callable[..., Any]
) -> None:
    front = pgbouncer(alone[0], "transaction")
    managers = [await moor(front, **QUICK) for _ in range(5)]
    for manager in managers:
        await manager.wait()
    front.pause()

    asked = [manager.snapshot().hosts[0].failure_kind for manager in managers]
    assert asked == [None] * 5
    await until(
        lambda: all(
            manager.snapshot().hosts[0].failure_kind == "unanswered" for manager in managers
        )
    )
    began = monotonic()
    most = 0
    while monotonic() - began < 1.5:
        most = max(most, (await front.clients())["waiting"])
        await asyncio.sleep(0.1)
    front.resume()
    await until(lambda: all(manager.snapshot().hosts[0].failure is None for manager in managers))

    assert most == 5
    assert all(untroubled(manager) for manager in managers)


@pytest.mark.parametrize("mode", ["session", "transaction"])
async def test_a_pool_without_a_server_connection_leaves_few_sessions_waiting(
    alone: Cluster, pgbouncer: Callable[..., PgBouncer], moor: Callable[..., Any], mode: str
) -> None:
    """Each dial's question waits; it isn't given up to be asked again by another dial."""
    front = pgbouncer(alone[0], mode, default_pool_size="1")
    manager = await moor(front, max_size=4, timeout=10, **{**QUICK, "min_size": 0})
    await until(lambda: manager.snapshot().ready)
    front.pause()
    callers = [asyncio.create_task(sleeps(manager, 0)) for _ in range(4)]
    most = 0
    began = monotonic()
    while monotonic() - began < 2:
        most = max(most, (await front.clients()).total())
        await asyncio.sleep(0.1)
    front.resume()
    if mode == "transaction":
        await asyncio.gather(*callers)
    else:
        for caller in callers:
            caller.cancel()

    assert most <= 6
