"""A server that answers "not yet" or "no more" (57P03) is starting or stopping, and not dead."""

from __future__ import annotations

import asyncio
import os
import signal
from time import monotonic
from typing import TYPE_CHECKING, Any

import psycopg

from pgmoor.events import Failover, HostDown, OutageEnded, OutageStarted
from support import Workload, recorder, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgmoor import ConnectionManager
    from pgmoor.testing import Cluster, Node


async def test_a_server_in_recovery_is_waited_for_and_used_as_soon_as_it_accepts(
    alone: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(*alone)
    async with Workload(manager) as work:
        let_go = await _recover_until_told(alone[0])
        await _meets(manager, 0, "starting up")
        await recorder(manager).wait_for(OutageStarted)
        failed = len(work.failed)

        let_go()
        await alone[0].wait_for("select not pg_is_in_recovery()")
        back = await work.back(monotonic())

    assert back < 1.2, back  # 0.2 s wanted: it is asked all the time
    assert len(work.failed) == failed <= 8, work.errors()
    await recorder(manager).wait_for(OutageEnded)
    statuses = [event.status for event in recorder(manager).of(HostDown)]
    assert statuses[-1] == "starting"


async def test_a_standby_that_serves_nobody_is_used_as_soon_as_it_is_promoted(
    pair: Cluster, moor: Callable[..., Any]
) -> None:
    await pair[1].sql("alter system set hot_standby = off")
    await pair[1].stop()
    await pair[1].start(wait=False)
    manager = await moor(*pair)
    async with Workload(manager) as work:
        await _meets(manager, 1, "not accepting connections")
        await pair[0].kill()
        await recorder(manager).wait_for(OutageStarted)
        failed = len(work.failed)

        await pair[1].promote()
        back = await work.back(monotonic())

    assert back < 1.2, back  # 0.2 s wanted
    assert len(work.failed) == failed <= 8, work.errors()
    assert len(recorder(manager).of(Failover)) == 1


async def test_a_server_that_waits_for_its_last_session_goes_on_serving(
    alone: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(*alone, min_size=2, max_size=6, health_interval=0.05)
    await manager.wait()
    alone[0].member.server.signal(signal.SIGTERM)  # a smart shutdown
    await _refused_with(alone[0], "shutting down")
    async with Workload(manager) as work:  # on the sessions that there are
        log = alone[0].log_file
        # The pool tries to grow all the while.
        await until(lambda: log.read_text().count("FATAL:  the database system is shutting") > 3)
        await work.flowing(monotonic())

    assert not work.failed, work.errors()
    assert (await manager.health()).ready
    assert not recorder(manager).of(HostDown)
    await manager.close()
    await until(lambda: alone[0].pid is None)


async def test_a_backend_that_crashes_costs_what_was_in_flight(
    alone: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(*alone)
    async with Workload(manager) as work:
        async with manager.connection() as conn:
            victim = conn.info.backend_pid
        before = _pids(manager)
        os.kill(victim, signal.SIGKILL)  # the others are ended, and all of it recovers
        await until(lambda: not before & _pids(manager))
        back = await work.back(monotonic())

    assert back < 2.0, back
    assert len(work.failed) <= 8, work.errors()


async def _recover_until_told(node: Node) -> Callable[[], None]:
    """Restart a server so that it is busy with its recovery until the function is called."""
    go = node.data_dir / "go"
    wait = f"until [ -e {go} ]; do sleep 0.01; done; false"  # there is no archive
    await node.sql(f"alter system set restore_command = '{wait}'")
    await node.stop("immediate")
    (node.data_dir / "recovery.signal").touch()
    await node.start(wait=False)
    return go.touch


async def _meets(manager: ConnectionManager, index: int, words: str) -> None:
    """Wait until the manager knows a host to be starting, by what the host itself says."""

    await until(lambda: words in (manager.snapshot().hosts[index].failure or ""))
    assert manager.snapshot().hosts[index].status == "starting"


async def _refused_with(node: Node, words: str) -> None:
    async with asyncio.timeout(5):
        while True:
            try:
                conn = await psycopg.AsyncConnection.connect(node.conninfo())
            except psycopg.OperationalError as error:
                if words in str(error):
                    return
            else:
                await conn.close()


def _pids(manager: Any) -> set[int]:
    """Return the server's process ids of the connections that lived when last looked at."""
    pool = manager._runtime.queue.pool
    return {conn.info.backend_pid for conn in pool.connections} if pool is not None else set()
