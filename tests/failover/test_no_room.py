"""Servers that answer and have no free slot, or reject us once the pool is in use."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
import trustme

from pgmoor import NoHostAvailable
from pgmoor.events import HostDown
from pgmoor.testing import Cluster, FaultProxy
from support import fill, recorder, until
from tls_front import TlsFront, server_context

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

SLOTS = 5


@asynccontextmanager
async def full_server(taken: int) -> AsyncIterator[tuple[Cluster, list[Any]]]:
    """A server with five slots for the role `app`, of which some are taken."""
    settings = {"max_connections": "8", "superuser_reserved_connections": "3"}
    async with Cluster(standbys=0, settings=settings) as cluster:
        await cluster[0].sql("create role app login")
        conninfo = cluster[0].conninfo(user="app")
        others = [await psycopg.AsyncConnection.connect(conninfo) for _ in range(taken)]
        try:
            yield cluster, others
        finally:
            for conn in others:
                await conn.close()


async def test_the_error_and_the_report_say_that_the_server_is_full(
    moor: Callable[..., Any],
) -> None:
    async with full_server(0) as (cluster, others):
        manager = await moor(cluster[0], min_size=0, max_size=4, kwargs={"user": "app"})
        await manager.wait_ready()  # the probe has a slot
        conninfo = cluster[0].conninfo(user="app")
        others += [await psycopg.AsyncConnection.connect(conninfo) for _ in range(SLOTS - 1)]

        with pytest.raises(NoHostAvailable, match="connection slots are reserved"):
            await manager.getconn(timeout=0.3)
        health = await manager.health()
        await manager.close()

    assert not health.ready
    assert "connection slots are reserved" in health.reason


async def test_a_full_server_is_dialled_gently(moor: Callable[..., Any]) -> None:
    async with full_server(SLOTS) as (cluster, _):
        with FaultProxy(cluster[0].host, cluster[0].port) as door:
            manager = await moor(door, min_size=0, max_size=4, kwargs={"user": "app"})
            waiter = manager.getconn(timeout=3)
            with pytest.raises(NoHostAvailable):
                await waiter
            dials = door.accepted
            await manager.close()

    # Every half second, and a few times by the reconnect task, whose backoff begins at 50 ms.
    assert 2 <= dials <= 20


async def test_a_manager_is_not_ready_while_its_only_server_rejects_it_and_the_pool_is_empty(
    alone: Cluster, moor: Callable[..., Any], tmp_path: Path
) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    kwargs = {"sslmode": "verify-full", "sslrootcert": str(tmp_path / "ca.pem")}
    context = server_context(authority.issue_cert("127.0.0.1"))
    with TlsFront(alone[0].host, alone[0].port, context) as front:
        manager = await moor(front, kwargs=kwargs)
        await fill(manager, 4)
        assert manager.snapshot().ready
        front.context = server_context(trustme.CA().issue_cert("127.0.0.1"))
        front.reset()
        await recorder(manager).wait_for(HostDown, where=lambda e: e.status == "rejected")
        with pytest.raises(NoHostAvailable, match="certificate verify failed"):
            await manager.getconn(timeout=0.3)
        await until(lambda: not manager.snapshot().ready)
        await manager.close()
