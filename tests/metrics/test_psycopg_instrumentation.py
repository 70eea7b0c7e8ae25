"""psycopg's own instrumentation works on a manager's connections and does not change them."""

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
    """Switch the instrumentation on, and restore psycopg afterwards."""
    kinds = (psycopg.Connection, psycopg.AsyncConnection)
    originals = [vars(kind)["connect"] for kind in kinds]
    instrumentor = PsycopgInstrumentor()
    instrumentor.instrument(tracer_provider=telemetry.tracers)
    yield instrumentor
    instrumentor.uninstrument()
    for kind, original in zip(kinds, originals, strict=True):
        setattr(kind, "connect", original)  # noqa: B010  type checkers expect a method


def queries(telemetry: Telemetry, text: str) -> list[ReadableSpan]:
    return [
        span
        for span in telemetry.spans()
        if span.attributes and text in str(span.attributes.get("db.statement"))
    ]


async def test_the_span_of_a_query_is_a_sibling_of_the_wait_for_its_connection(
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


async def test_pgmoors_own_queries_make_no_spans(
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
    """Return whether the span is of a statement that a fixture sends over a Unix socket."""
    return "/" in str((span.attributes or {}).get("net.peer.name"))


async def test_cancellation_aborts_and_lost_commits_work_with_instrumentation(
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
        assert await cursor.fetchone() == (pid,)  # the cancelled query did not cost the connection

        query = asyncio.create_task(conn.execute("select pg_sleep(60)"))
        await until(lambda: conn.info.transaction_status.name == "ACTIVE")
        conn.abort("the test aborts it")
        with pytest.raises(ConnectionAborted, match="the test aborts it"):
            await query

    async with manager.connection() as conn:
        await conn.execute("insert into work values ('x')")
        door.cut()
        with pytest.raises((CommitOutcomeUnknown, psycopg.OperationalError)):
            await conn.commit()

    _, aborted = queries(telemetry, "pg_sleep(60)")
    assert not aborted.status.is_ok


async def test_a_users_cursor_factory_still_makes_the_cursors(
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


async def test_configure_can_instrument_a_single_manager(
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


async def test_connections_stay_managed_when_instrumentation_is_switched_off_and_on(
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
