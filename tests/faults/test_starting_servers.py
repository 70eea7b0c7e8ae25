"""A server that starts, recovers or shuts down (57P03) is waited for; it is not dead."""

from __future__ import annotations

import asyncio
import os
import signal
from time import monotonic
from typing import TYPE_CHECKING, Any

import psycopg

from pgmoor.events import Failover, HostDown, OutageEnded, OutageStarted
from support import Workload, pool_pids, recorder, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgmoor import ConnectionManager
    from pgmoor.testing import Cluster, Node


async def test_a_server_in_recovery_is_waited_for_and_used_as_soon_as_it_accepts(
    alone: Cluster, moor: Callable[..., Any]
) -> None:
    # With `any`, the default for one host, it would be used as a standby just before recovery ends.
    manager = await moor(*alone, target="primary")
    async with Workload(manager) as work:
        finish = await _recover_until_called(alone[0])
        await _is_starting(manager, 0, "starting up")
        await recorder(manager).wait_for(OutageStarted)
        failed = len(work.failed)

        finish()
        await alone[0].wait_for("select not pg_is_in_recovery()")
        back = await work.back(monotonic())

    assert back < 1.2, back  # 0.2 s wanted: it is probed in a burst
    assert len(work.failed) == failed <= 8, work.errors()
    await recorder(manager).wait_for(OutageEnded)
    statuses = [event.status for event in recorder(manager).of(HostDown)]
    assert statuses[-1] == "starting"


async def test_a_standby_without_hot_standby_is_used_as_soon_as_it_is_promoted(
    pair: Cluster, moor: Callable[..., Any]
) -> None:
    await pair[1].sql("alter system set hot_standby = off")
    await pair[1].stop()
    await pair[1].start(wait=False)
    manager = await moor(*pair)
    async with Workload(manager) as work:
        await _is_starting(manager, 1, "not accepting connections")
        await pair[0].kill()
        await recorder(manager).wait_for(OutageStarted)
        failed = len(work.failed)

        await pair[1].promote()
        back = await work.back(monotonic())

    assert back < 1.2, back  # 0.2 s wanted
    assert len(work.failed) == failed <= 8, work.errors()
    assert len(recorder(manager).of(Failover)) == 1


async def test_a_server_in_smart_shutdown_keeps_serving_its_sessions(
    alone: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(*alone, min_size=2, max_size=6, health_interval=0.05)
    await manager.wait()
    alone[0].member.server.signal(signal.SIGTERM)  # a smart shutdown
    await _refused_with(alone[0], "shutting down")
    async with Workload(manager) as work:  # on the sessions that exist
        log = alone[0].log_file
        # Meanwhile the pool tries to grow.
        await until(lambda: log.read_text().count("FATAL:  the database system is shutting") > 3)
        await work.flowing(monotonic())

    assert not work.failed, work.errors()
    assert (await manager.health()).ready
    assert not recorder(manager).of(HostDown)
    await manager.close()
    await until(lambda: alone[0].pid is None)


async def test_the_crash_of_a_backend_fails_only_what_was_in_flight(
    alone: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(*alone)
    async with Workload(manager) as work:
        async with manager.connection() as conn:
            victim = conn.info.backend_pid
        before = pool_pids(manager)
        os.kill(victim, signal.SIGKILL)  # the server ends all sessions and recovers
        await until(lambda: not before & pool_pids(manager))
        back = await work.back(monotonic())

    assert back < 2.0, back
    assert len(work.failed) <= 8, work.errors()


async def _recover_until_called(node: Node) -> Callable[[], None]:
    """Restart a server so that it is in recovery until the returned function is called."""
    go = node.data_dir / "go"
    wait = f"until [ -e {go} ]; do sleep 0.01; done; false"  # there is no archive
    await node.sql(f"alter system set restore_command = '{wait}'")
    await node.stop("immediate")
    (node.data_dir / "recovery.signal").touch()
    await node.start(wait=False)
    return go.touch


async def _is_starting(manager: ConnectionManager, index: int, words: str) -> None:
    """Wait until the manager knows that a host is starting, because the host says so."""
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
