"""The only host rejects our logins: an outage, once the last connection to it has ended."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Any

import pytest

from pgmoor import NoHostAvailable
from pgmoor._core.dialling import login_throttle
from pgmoor._core.hosts import probe_pace
from pgmoor.events import HostDown, OutageEnded, OutageStarted
from support import Workload, fill, pool_pids, recorder

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgmoor.testing import Cluster

PATIENT = 20.0  # seconds: the timeout of callers who must not wait so long


@pytest.fixture(autouse=True)
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask a server that rejects us again soon."""
    monkeypatch.setattr(probe_pace, "REJECTED_INTERVAL", 0.2)
    monkeypatch.setattr(login_throttle, "RETRY_INTERVAL", 0.2)


async def fails_at_once(manager: Any, match: str) -> None:
    began = monotonic()
    with pytest.raises(NoHostAvailable, match=match):
        await manager.getconn(timeout=PATIENT)
    assert monotonic() - began < PATIENT / 4
    assert not manager.snapshot().ready


async def test_a_dropped_database_is_an_outage_until_it_is_there_again(
    alone: Cluster, moor: Callable[..., Any]
) -> None:
    await alone[0].sql("drop database if exists doomed")
    await alone[0].sql("create database doomed")
    manager = await moor(*alone, kwargs={"dbname": "doomed"}, when_down="fail", min_size=2)
    await fill(manager, 2)
    await alone[0].sql("drop database doomed with (force)")
    await fails_at_once(manager, "does not exist")
    await recorder(manager).wait_for(OutageStarted)
    await alone[0].sql("create database doomed")
    await recorder(manager).wait_for(OutageEnded)
    await fill(manager, 2)
    await manager.close()
    await alone[0].sql("drop database doomed with (force)")


async def test_while_connections_live_a_host_that_rejects_new_ones_serves_them(
    alone: Cluster, moor: Callable[..., Any]
) -> None:
    node = alone[0]
    await node.sql("drop role if exists guest")
    await node.sql("create role guest login superuser")
    manager = await moor(node, kwargs={"user": "guest"}, when_down="fail", min_size=2, max_size=2)
    await fill(manager, 2)
    await node.sql("alter role guest nologin")
    ours = ", ".join(map(str, pool_pids(manager)))
    probe = "select pg_terminate_backend(pid) from pg_stat_activity where usename = 'guest'"
    await node.sql(f"{probe} and pid not in ({ours})")
    await recorder(manager).wait_for(HostDown, where=lambda event: event.status == "rejected")
    async with Workload(manager, tasks=2) as work:
        for _ in range(3):
            await work.flowing(monotonic())
        assert not work.failed, work.errors()
    assert not recorder(manager).of(OutageStarted)
    assert manager.snapshot().ready

    await node.sql(probe)
    await recorder(manager).wait_for(OutageStarted)
    await fails_at_once(manager, "not permitted to log in")
    await node.sql("alter role guest login")
    await recorder(manager).wait_for(OutageEnded)
