"""What is held on hosts that were left is counted, reported, and part of the limit."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from pgmoor import PoolExhausted
from pgmoor.events import Failover, HeldTooLong
from support import hold, recorder, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgmoor.testing import Cluster

QUICK = {"health_interval": 0.1, "settle": 0.1, "target": "read-write"}
SESSIONS = "(select count(*) from pg_stat_activity where application_name = 'counted')"


async def test_a_host_that_is_left_and_chosen_again_lends_no_more_than_max_size(
    alone: Cluster, moor: Callable[..., Any]
) -> None:
    named = {"kwargs": {"application_name": "counted"}}
    manager = await moor(*alone, min_size=0, max_size=4, **named, **QUICK)
    conns = await hold(manager, 4)
    for turn in range(1, 4):
        await alone[0].demote()
        await until(lambda: not manager.snapshot().ready)
        await alone[0].undemote()
        await until(lambda: manager.snapshot().ready)
        figures = manager.snapshot().pool
        open_ = sum(not conn.closed for conn in conns)
        assert (figures.used, figures.size) == (len(conns), len(conns)), turn
        for _ in range(4 - open_):
            conns.append(await manager.getconn(timeout=5))
        with pytest.raises(PoolExhausted):
            await manager.getconn(timeout=0.2)
        await alone[0].wait_for(f"select {SESSIONS} between 4 and 5")  # one is the probe's

    for conn in conns:
        await manager.putconn(conn)
    assert manager.snapshot().pool.used == 0
    conns = [await manager.getconn(timeout=5) for _ in range(4)]
    for conn in conns:
        await manager.putconn(conn)


async def test_connections_held_on_a_host_that_was_left_are_reported_and_served_from_when_back(
    alone: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(*alone, min_size=1, max_size=2, held_warning=0.2, **QUICK)
    held = await hold(manager, 2)
    await alone[0].demote()
    await until(lambda: not manager.snapshot().ready)
    await alone[0].undemote()
    await until(lambda: manager.snapshot().ready)
    assert [conn.closed for conn in held] == [False, False]  # they may go on reading
    waiter = asyncio.create_task(manager.getconn(timeout=10))
    await recorder(manager).wait_for(HeldTooLong)
    with pytest.raises(PoolExhausted) as e:
        await manager.getconn(timeout=0.1)
    assert len(e.value.holders) == 2

    await manager.putconn(held.pop())
    held.append(await asyncio.wait_for(waiter, 5))
    for conn in held:
        await manager.putconn(conn)
    assert manager.snapshot().pool.used == 0


async def test_connections_that_were_cut_with_their_host_make_room_for_others(
    pair: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(*pair, min_size=1, max_size=2, **QUICK)
    cut = await hold(manager, 2)
    await pair[0].kill()
    await pair[1].promote()
    await recorder(manager).wait_for(Failover)
    lent = await hold(manager, 2)
    assert manager.snapshot().pool.used == 4
    waiter = asyncio.create_task(manager.getconn(timeout=10))
    for conn in cut:  # makes no room: it did so when it was cut
        await manager.putconn(conn)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.shield(waiter), 0.2)
    await manager.putconn(lent.pop())
    lent.append(await waiter)
    for conn in lent:
        await manager.putconn(conn)
    assert manager.snapshot().pool.used == 0
