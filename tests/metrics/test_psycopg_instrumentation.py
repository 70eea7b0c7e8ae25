"""psycopg's own instrumentation works on a manager's connections, which keep their abilities."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from opentelemetry.instrumentation.psycopg import PsycopgInstrumentor
from psycopg.rows import dict_row

from pgmoor import (
    CommitOutcomeUnknown,
    ConnectionAborted,
    ConnectionManager,
    ManagedConnection,
)
from pgmoor.otel import instrument
from support import fill, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from opentelemetry.sdk.trace import ReadableSpan

    from metrics.telemetry import Telemetry
    from pgmoor.testing import Cluster


@pytest.fixture
def instrumentor(telemetry: Telemetry) -> Iterator[PsycopgInstrumentor]:
    """The instrumentation, switched on; psycopg is as it was afterwards."""
    kinds = (psycopg.Connection, psycopg.AsyncConnection)
    originals = [vars(kind)["connect"] for kind in kinds]
    instrumentor = PsycopgInstrumentor()
    instrumentor.instrument(tracer_provider=telemetry.tracers)
    yield instrumentor
    instrumentor.uninstrument()
    for kind, original in zip(kinds, originals, strict=True):
        setattr(kind, "connect", original)  # noqa: B010  it is not what type checkers expect


def queries(telemetry: Telemetry, text: str) -> list[ReadableSpan]:
    return [
        span
        for span in telemetry.spans()
        if span.attributes and text in str(span.attributes.get("db.statement"))
    ]


async def test_a_query_is_a_span_beside_the_wait_for_its_connection(
    alone: Cluster,
    telemetry: Telemetry,
    instrumentor: PsycopgInstrumentor,
    moor: Callable[..., Any],
) -> None:
    manager = await moor(*alone, min_size=1)
    instrument(manager, meter_provider=telemetry.meters, tracer_provider=telemetry.tracers)
    with telemetry.tracer.start_as_current_span("request"):
        async with manager.connection() as conn:
            assert isinstance(conn, ManagedConnection)
            cursor = await conn.execute("select 41 + 1")
            assert await cursor.fetchone() == (42,)
            async with conn.cursor(row_factory=dict_row) as other:
                await other.execute("select 1 as one")
                assert await other.fetchone() == {"one": 1}

    (caller,) = telemetry.spans("request")
    (query,) = queries(telemetry, "select 41 + 1")
    acquire = telemetry.spans("pgmoor.acquire")[-1]
    assert query.parent is not None
    assert acquire.parent is not None
    assert query.parent.span_id == acquire.parent.span_id == caller.context.span_id
    assert len(queries(telemetry, "select 1 as one")) == 1


async def test_what_pgmoor_asks_by_itself_makes_no_span_of_a_query(
    alone: Cluster,
    telemetry: Telemetry,
    instrumentor: PsycopgInstrumentor,
    moor: Callable[..., Any],
) -> None:
    manager = await moor(*alone, min_size=1, health_interval=0.05, validate_after=0.0)
    await fill(manager, 1)
    await manager.check()
    await manager.health(fresh=True)
    async with manager.connection() as conn:
        await conn.execute("select 'mine'")

    mine = [span for span in telemetry.spans() if span.attributes and not _of_the_test(span)]
    assert [str((span.attributes or {}).get("db.statement")) for span in mine] == ["select 'mine'"]


def _of_the_test(span: ReadableSpan) -> bool:
    """Return whether the span is of a statement by which the fixtures prepare the servers."""
    return "/" in str((span.attributes or {}).get("net.peer.name"))


async def test_connections_keep_their_abilities(
    alone: Cluster,
    telemetry: Telemetry,
    instrumentor: PsycopgInstrumentor,
    moor: Callable[..., Any],
    proxies: Callable[..., Any],
) -> None:
    (door,) = proxies(alone)
    manager = await moor(door, min_size=1, max_size=1)
    async with manager.connection() as conn:
        pid = conn.info.backend_pid
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await conn.execute("select pg_sleep(60)")
        await conn.rollback()
        cursor = await conn.execute("select pg_backend_pid()")
        assert await cursor.fetchone() == (pid,)  # a cancelled query costs no connection

        query = asyncio.create_task(conn.execute("select pg_sleep(60)"))
        await until(lambda: conn.info.transaction_status.name == "ACTIVE")
        conn.abort("db1:5432", "the test wants it")
        with pytest.raises(ConnectionAborted, match="db1:5432"):
            await query

    async with manager.connection() as conn:
        await conn.execute("insert into work values ('x')")
        door.cut()
        with pytest.raises((CommitOutcomeUnknown, psycopg.OperationalError)):
            await conn.commit()

    (slow, aborted) = queries(telemetry, "pg_sleep(60)")
    assert slow.status.is_ok is False or slow.events or slow.attributes
    assert not aborted.status.is_ok


async def test_a_cursor_factory_of_the_users_stays_underneath(
    alone: Cluster,
    telemetry: Telemetry,
    instrumentor: PsycopgInstrumentor,
    moor: Callable[..., Any],
) -> None:
    class Mine(psycopg.AsyncCursor[Any]):
        pass

    manager = await moor(*alone, min_size=1, kwargs={"cursor_factory": Mine, "autocommit": True})
    async with manager.connection() as conn:
        cursor = await conn.execute("select 'factory'")
        assert isinstance(cursor, Mine)
        assert conn.autocommit

    assert len(queries(telemetry, "select 'factory'")) == 1


async def test_one_manager_alone_is_instrumented_by_its_configure(
    alone: Cluster, telemetry: Telemetry, moor: Callable[..., Any]
) -> None:
    async def configure(conn: psycopg.AsyncConnection[Any]) -> None:
        PsycopgInstrumentor.instrument_connection(conn, tracer_provider=telemetry.tracers)

    traced = await moor(*alone, min_size=1, configure=configure)
    plain: ConnectionManager = await moor(*alone, min_size=1)
    for manager in (traced, plain):
        async with manager.connection() as conn:
            await conn.execute("select 'configured'")
            assert isinstance(conn, ManagedConnection)

    assert len(queries(telemetry, "select 'configured'")) == 1


async def test_connections_are_managed_ones_however_often_it_is_switched(
    alone: Cluster,
    telemetry: Telemetry,
    instrumentor: PsycopgInstrumentor,
    moor: Callable[..., Any],
) -> None:
    for switch in (instrumentor.uninstrument, instrumentor.instrument):
        switch()
        manager = await moor(*alone, min_size=1, max_size=1)
        async with manager.connection() as conn:
            assert isinstance(conn, ManagedConnection)
            await conn.execute("select 1")
        await manager.close()
