"""Spans: a wait is in its caller's trace; dials, failovers and outages have their own, linked."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.trace import SpanKind, StatusCode

from metrics.telemetry import POOL, seconds_of
from pgmoor import ConnectionManager, PoolExhausted
from pgmoor.events import Connected, Failover, OutageEnded, OutageStarted
from pgmoor.otel import instrument
from support import fill, hold, recorder, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from metrics.telemetry import Telemetry
    from pgmoor.testing import Cluster


async def opened(
    telemetry: Telemetry, moor: Callable[..., Any], *servers: Any, **settings: Any
) -> ConnectionManager:
    """Return a ready manager that was instrumented after its opening."""
    manager: ConnectionManager = await moor(*servers, name="orders", **settings)
    instrument(manager, meter_provider=telemetry.meters, tracer_provider=telemetry.tracers)
    await manager.wait()
    return manager


async def request(telemetry: Telemetry, manager: ConnectionManager) -> None:
    """Check out a connection within a span of the application's."""
    with telemetry.tracer.start_as_current_span("request"):
        async with manager.connection():
            pass


async def test_a_checkout_that_does_not_wait_makes_no_span(
    alone: Cluster, telemetry: Telemetry, moor: Callable[..., Any]
) -> None:
    manager = await opened(telemetry, moor, *alone, min_size=2)
    await fill(manager, 2)
    before = len(telemetry.spans("pgmoor.acquire"))
    for _ in range(10):
        async with manager.connection():
            pass

    assert len(telemetry.spans("pgmoor.acquire")) == before


async def test_the_span_of_a_wait_is_a_child_of_the_callers(
    alone: Cluster, telemetry: Telemetry, moor: Callable[..., Any]
) -> None:
    manager = await opened(telemetry, moor, *alone, min_size=1, max_size=1)
    conn = (await hold(manager, 1))[0]
    before = len(telemetry.spans("pgmoor.acquire"))

    waiting = asyncio.create_task(request(telemetry, manager))
    await until(lambda: manager.snapshot().pool.waiting == 1)
    await asyncio.sleep(0.05)
    await manager.putconn(conn)
    await waiting

    (span,) = telemetry.spans("pgmoor.acquire")[before:]
    (caller,) = telemetry.spans("request")
    assert span.parent is not None
    assert span.parent.span_id == caller.context.span_id
    assert 0.05 <= seconds_of(span) < 1
    assert span.attributes == {POOL: "orders", "db.system.name": "postgresql"}
    assert span.status.status_code is StatusCode.UNSET
    assert span.links == ()


async def test_a_wait_that_times_out_is_an_error_and_a_cancelled_one_is_not(
    alone: Cluster, telemetry: Telemetry, moor: Callable[..., Any]
) -> None:
    manager = await opened(telemetry, moor, *alone, min_size=1, max_size=1)
    conn = (await hold(manager, 1))[0]
    before = len(telemetry.spans("pgmoor.acquire"))
    with pytest.raises(PoolExhausted):
        await manager.getconn(timeout=0.05)
    cancelled = asyncio.create_task(manager.getconn())
    await until(lambda: manager.snapshot().pool.waiting == 1)
    cancelled.cancel()
    await asyncio.wait([cancelled])
    await manager.putconn(conn)

    timed_out, gone = telemetry.spans("pgmoor.acquire")[before:]
    assert timed_out.status.status_code is StatusCode.ERROR
    assert timed_out.attributes is not None
    assert timed_out.attributes["error.type"] == "PoolExhausted"
    assert [event.name for event in timed_out.events] == ["exception"]
    assert gone.status.status_code is StatusCode.UNSET
    assert gone.attributes is not None
    assert gone.attributes["pgmoor.cancelled"] is True


async def test_dials_have_no_parent_and_name_their_host(
    alone: Cluster, telemetry: Telemetry, moor: Callable[..., Any]
) -> None:
    with telemetry.tracer.start_as_current_span("startup"):
        manager = await opened(telemetry, moor, *alone, min_size=2, max_size=2)
    await manager.drain()  # new ones are made by tasks that started within "startup"
    await until(lambda: len(telemetry.spans("pgmoor.dial")) == 4)

    for span in telemetry.spans("pgmoor.dial"):
        assert span.parent is None
        assert span.kind is SpanKind.CLIENT
        assert span.attributes is not None
        assert span.attributes["server.address"] == "127.0.0.1"
        assert span.attributes["server.port"] == alone[0].port
        assert 0 < seconds_of(span) < 5


async def test_failover_and_outage_have_exact_times_and_are_linked(
    pair: Cluster, telemetry: Telemetry, moor: Callable[..., Any]
) -> None:
    manager = await opened(telemetry, moor, *pair)
    killed = time.time()
    await pair[0].kill()
    began = await recorder(manager).wait_for(OutageStarted)
    assert telemetry.spans("pgmoor.outage") == []  # it has not ended

    waiting = asyncio.create_task(request(telemetry, manager))
    await until(lambda: manager.snapshot().pool.waiting == 1)
    await pair[1].promote()
    ended = await recorder(manager).wait_for(OutageEnded)
    event = await recorder(manager).wait_for(Failover)
    await waiting

    (outage,) = telemetry.spans("pgmoor.outage")
    (failover,) = telemetry.spans("pgmoor.failover")
    assert outage.start_time is not None
    assert failover.start_time is not None
    assert outage.end_time is not None
    assert failover.end_time is not None
    assert seconds_of(outage) == pytest.approx(ended.seconds, abs=0.05)
    assert killed <= failover.start_time / 1e9 <= outage.start_time / 1e9 <= began.at
    assert failover.end_time / 1e9 == pytest.approx(event.at, abs=0.001)
    assert outage.end_time / 1e9 == pytest.approx(ended.at, abs=0.05)
    assert outage.parent is None
    assert failover.parent is None
    assert [link.context.span_id for link in failover.links] == [outage.context.span_id]
    names = [item.name for item in outage.events]
    assert names[0] == "OutageStarted"
    assert names[-2:] == ["Failover", "OutageEnded"]
    assert failover.attributes is not None
    assert failover.attributes["pgmoor.failover.to"] == f"127.0.0.1:{pair[1].port}"
    waits = [span for span in telemetry.spans("pgmoor.acquire") if span.links]
    assert [wait.links[0].context.span_id for wait in waits] == [outage.context.span_id]
    assert outage.status.status_code is StatusCode.UNSET


async def test_an_outage_at_the_start_begins_when_the_manager_opens(
    alone: Cluster, telemetry: Telemetry, moor: Callable[..., Any]
) -> None:
    await alone[0].stop()
    began = time.time()
    manager = await moor(*alone)
    instrument(manager, meter_provider=telemetry.meters, tracer_provider=telemetry.tracers)
    started = await recorder(manager).wait_for(OutageStarted)
    await alone[0].start()
    connected = await recorder(manager).wait_for(Connected)

    (outage,) = telemetry.spans("pgmoor.outage")
    assert outage.start_time is not None
    assert began <= outage.start_time / 1e9 <= started.at
    assert connected.at - outage.start_time / 1e9 == pytest.approx(connected.seconds, abs=0.1)
    assert telemetry.spans("pgmoor.failover") == []


async def test_an_outage_that_ends_with_the_manager_is_an_error(
    alone: Cluster, telemetry: Telemetry, moor: Callable[..., Any]
) -> None:
    manager = await opened(telemetry, moor, *alone)
    await alone[0].kill()
    await recorder(manager).wait_for(OutageStarted)
    await manager.close(timeout=0.5)

    (outage,) = telemetry.spans("pgmoor.outage")
    assert outage.status.status_code is StatusCode.ERROR
    assert outage.status.description == "the manager was closed"


class Faulty(SpanProcessor):
    """A user's span processor with a bug."""

    def on_start(self, span: Any, parent_context: Any = None) -> None:
        raise RuntimeError("no room")


async def test_a_failing_span_processor_is_logged_and_disturbs_nothing(
    pair: Cluster, moor: Callable[..., Any], telemetry: Telemetry, caplog: pytest.LogCaptureFixture
) -> None:
    tracers = TracerProvider(shutdown_on_exit=False)
    tracers.add_span_processor(Faulty())
    manager = await moor(*pair, min_size=1, max_size=1)
    instrument(manager, meter_provider=telemetry.meters, tracer_provider=tracers)
    async with manager.connection() as conn:
        await conn.execute("select 1")
    with pytest.raises(PoolExhausted):
        async with manager.connection():
            await manager.getconn(timeout=0.01)
    await pair[0].kill()
    await pair[1].promote()
    await recorder(manager).wait_for(Failover)
    async with manager.connection() as conn:
        await conn.execute("select 1")

    assert "a span could not be made" in caplog.text
