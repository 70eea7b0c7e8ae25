"""Opening, closing, health and events of a manager, on real servers."""

from __future__ import annotations

import asyncio
import gc
import threading
from pathlib import Path
from time import monotonic, perf_counter
from typing import TYPE_CHECKING, Any

import pytest

from pgmoor import ConnectionAborted, ConnectionManager, ManagerClosed, NoHostAvailable
from pgmoor.events import Connected
from pgmoor.testing import Cluster, FaultProxy
from support import Workload, fill, recorder, until

if TYPE_CHECKING:
    from collections.abc import Callable


def footprint() -> tuple[int, int, int]:
    """Return the numbers of descriptors, tasks and threads."""
    tasks = [task for task in asyncio.all_tasks() if "pgmoor" in task.get_name()]
    return len(list(Path("/proc/self/fd").iterdir())), len(tasks), threading.active_count()


async def test_close_leaves_no_task_socket_or_thread_behind(alone: Cluster) -> None:
    gc.collect()
    before = footprint()
    manager = ConnectionManager(alone.conninfo(), min_size=4)
    await manager.open(wait=True)
    await fill(manager, 4)
    await manager.close()
    await manager.close()

    assert manager.closed
    gc.collect()
    assert footprint() <= before
    with pytest.raises(ManagerClosed, match="is closed"):
        await manager.getconn()
    with pytest.raises(ManagerClosed, match="make a new"):
        await manager.open()


async def test_close_is_prompt_while_dials_and_callers_wait(
    alone: Cluster, proxies: Callable[..., Any]
) -> None:
    (door,) = proxies(alone)
    door.silent()
    gc.collect()
    before = footprint()
    manager = ConnectionManager(f"host={door.host} port={door.port} user=postgres")
    await manager.open()
    waiter = asyncio.create_task(manager.getconn())
    await until(lambda: manager.get_stats()["requests_waiting"] == 1)
    began = monotonic()
    await manager.close()

    assert monotonic() - began < 1.0
    with pytest.raises(ManagerClosed):
        await waiter
    await until(lambda: footprint()[1] == before[1])


async def test_close_waits_for_held_connections_and_then_cuts_them(
    alone: Cluster, proxies: Callable[..., Any]
) -> None:
    (door,) = proxies(alone)
    manager = ConnectionManager(f"host={door.host} port={door.port} user=postgres", min_size=2)
    await manager.open(wait=True)

    silenced = asyncio.Event()

    async def hang() -> None:
        async with manager.connection() as conn:
            await conn.execute("select 1")
            door.silent()
            silenced.set()
            await conn.execute("select 1")

    task = asyncio.create_task(hang())
    await silenced.wait()
    began = monotonic()
    await manager.close(timeout=0.3)
    taken = monotonic() - began

    assert 0.25 < taken < 1.5, taken  # `close_timeout` and 0.1 s wanted
    with pytest.raises(ConnectionAborted, match="the manager is closed"):
        await task


async def test_close_inside_a_block_does_not_wait_for_itself(alone: Cluster) -> None:
    manager = ConnectionManager(alone.conninfo())
    await manager.open()
    async with manager.connection() as conn:
        await conn.execute("select 1")
        await conn.commit()
        began = monotonic()
        await manager.close()
        assert monotonic() - began < 1.0
    assert conn.closed


async def test_a_manager_that_is_not_open_or_of_another_loop_says_so(alone: Cluster) -> None:
    manager = ConnectionManager(alone.conninfo())
    with pytest.raises(ManagerClosed, match="not open yet"):
        await manager.getconn()
    assert (await manager.health()).state == "new"
    await manager.open()

    def elsewhere() -> BaseException | None:
        async def use() -> None:
            async with manager.connection():
                pass

        try:
            asyncio.run(use())
        except ManagerClosed as error:
            return error
        return None

    error = await asyncio.to_thread(elsewhere)
    assert "another event loop" in str(error)
    await manager.close()


async def test_open_with_wait_says_what_is_wrong_and_leaves_the_manager_usable(
    moor: Callable[..., Any],
) -> None:
    with FaultProxy("127.0.0.1", 1) as door:
        door.refuse()
        manager = await moor(door)
        with pytest.raises(NoHostAvailable, match="refused"):
            await manager.open(wait=True, timeout=0.2)
        with pytest.raises(NoHostAvailable):
            await manager.wait_ready(timeout=0.05)
        assert not manager.closed


async def test_health_is_cheap_and_reports_hosts_and_pool(
    pair: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(*pair)
    await manager.wait()
    await until(lambda: manager._runtime.live.evidence.table[1].status.value == "up")
    best = 1.0
    for _ in range(300):
        began = perf_counter()
        health = await manager.health()
        best = min(best, perf_counter() - began)

    assert best < 250e-6, best  # 50 µs wanted; benchmarks/checkout.py measures it
    assert (health.live, health.ready, health.status, health.state) == (True, True, "pass", "ready")
    assert [host.role for host in health.hosts] == ["primary", "standby"]
    assert [host.current for host in health.hosts] == [True, False]
    assert health.to_dict()["pool"]["size"] == 4
    assert "127.0.0.1" not in str(health.to_dict(details=False))


async def test_fresh_health_probes_the_hosts_first(
    alone: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(*alone, health_interval=60)
    await manager.wait()
    await alone[0].demote()

    assert not (await manager.health(fresh=True)).hosts[0].writable


async def test_callers_who_wait_for_a_busy_pool_are_a_warning(
    alone: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(*alone, min_size=1, max_size=1)
    conn = await manager.getconn()
    waiter = asyncio.create_task(manager.getconn())
    await until(lambda: manager.get_stats()["requests_waiting"] == 1)
    health = await manager.health()
    await manager.putconn(conn)
    await manager.putconn(await waiter)

    assert (health.ready, health.status) == (True, "warn")


async def test_events_reach_an_iterator_until_the_manager_is_closed(alone: Cluster) -> None:
    manager = ConnectionManager(alone.conninfo())
    stream = manager.events()
    await manager.open(wait=True)
    await manager.close()

    kinds = [type(event).__name__ async for event in stream]

    assert kinds == ["HostUp", "Connected"]


async def test_a_listener_that_hangs_or_fails_delays_neither_callers_nor_close(
    alone: Cluster,
) -> None:
    async def hang(_: object) -> None:
        await asyncio.Event().wait()

    def fail(_: object) -> None:
        raise RuntimeError("listener failed")

    manager = ConnectionManager(alone.conninfo(), on_event=hang)
    manager.subscribe(fail)
    await manager.open(wait=True)
    began = monotonic()
    async with manager.connection() as conn:
        await conn.execute("select 1")
    assert monotonic() - began < 0.5
    await manager.close(timeout=0.2)
    assert monotonic() - began < 2.0


async def test_a_blocked_event_loop_is_not_taken_for_an_outage(
    pair: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(*pair, health_interval=0.1, health_timeout=0.2)
    await recorder(manager).wait_for(Connected)
    async with Workload(manager, tasks=4) as work:
        for _ in range(3):
            deadline = perf_counter() + 0.7
            while perf_counter() < deadline:  # the program computes, and does not yield
                pass
            await work.flowing(monotonic())

    assert not work.failed, work.errors()
    assert (await manager.health()).hosts[0].status == "up"
    assert len(recorder(manager).of(Connected)) == 1


async def test_postgresql_16_is_understood(moor: Callable[..., Any]) -> None:
    async with Cluster(standbys=1, version=16) as old:
        manager = await moor(*old)
        async with manager.connection() as conn:
            assert conn.info.server_version // 10000 == 16
        health = await manager.health(fresh=True)
        assert [host.timeline for host in health.hosts] == [1, 1]


async def test_a_server_that_rejects_the_identity_query_is_asked_for_read_only_mode(
    alone: Cluster, moor: Callable[..., Any]
) -> None:
    """As Aurora's writer does, by reports, while its wal_level is below logical."""
    await alone[0].sql("alter function pg_catalog.pg_current_wal_lsn() rename to real_wal_lsn")
    await alone[0].sql(
        "create function pg_catalog.pg_current_wal_lsn() returns pg_lsn language plpgsql as"
        " $$begin raise exception 'wal_level must be set' using errcode = '55000'; end$$"
    )

    try:
        manager = await moor(alone[0], target="read-write")
        async with manager.connection() as conn:
            await conn.execute("select 1")
    finally:
        await alone[0].sql("drop function pg_catalog.pg_current_wal_lsn()")
        await alone[0].sql("alter function pg_catalog.real_wal_lsn() rename to pg_current_wal_lsn")

    assert manager.snapshot().hosts[0].writable is True
    assert manager.snapshot().hosts[0].timeline is None
