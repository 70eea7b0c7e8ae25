"""OpenTelemetry's metrics are exact for every reader, at any time."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from time import monotonic
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import (
    MetricExporter,
    MetricExportResult,
    MetricsData,
    PeriodicExportingMetricReader,
)

from metrics.telemetry import POOL, points_of
from pgmoor import ConnectionManager, PoolExhausted
from pgmoor.otel import _meters, instrument
from support import fill, hold, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from metrics.telemetry import Telemetry
    from pgmoor.testing import Cluster


async def test_the_times_of_checkouts_are_those_that_callers_measure(
    alone: Cluster, telemetry: Telemetry
) -> None:
    waited = used = 0.0

    async def work(manager: ConnectionManager) -> None:
        nonlocal waited, used
        for _ in range(25):
            began = monotonic()
            async with manager.connection() as conn:
                got = monotonic()
                await conn.execute("select pg_sleep(0.001)")
            waited += got - began
            used += monotonic() - got

    async with ConnectionManager(alone.conninfo(), min_size=2, name="orders") as manager:
        instrument(manager, meter_provider=telemetry.meters)
        await asyncio.gather(*(work(manager) for _ in range(8)))

        waits = telemetry.point("db.client.connection.wait_time")
        uses = telemetry.point("db.client.connection.use_time")
        creations = telemetry.point("db.client.connection.create_time")

    assert (waits.count, uses.count, creations.count) == (200, 200, 2)
    assert waits.attributes == uses.attributes == {POOL: "orders"}
    assert waits.sum == pytest.approx(waited, rel=0.2)
    assert uses.sum == pytest.approx(used, rel=0.2)
    assert uses.sum >= 200 * 0.001
    assert 0 < creations.sum < 2


async def test_the_figures_of_the_pool_are_current(
    alone: Cluster, telemetry: Telemetry, moor: Callable[..., Any]
) -> None:
    manager = await moor(*alone, min_size=3, max_size=5, max_overflow=2)
    instrument(manager, meter_provider=telemetry.meters)
    await manager.wait()

    async def figures() -> tuple[float, ...]:
        names = ("idle.max", "idle.min", "max", "pending_requests", "timeouts")
        counts = [telemetry.value("db.client.connection.count", state=s) for s in ("idle", "used")]
        return (*counts, *(telemetry.value(f"db.client.connection.{name}") for name in names))

    assert await figures() == (3, 0, 5, 3, 7, 0, 0)

    conns = await hold(manager, 2)
    assert await figures() == (1, 2, 5, 3, 7, 0, 0)

    conns += await hold(manager, 5)
    timed_out = asyncio.create_task(manager.getconn(timeout=0.2))
    await until(lambda: telemetry.value("db.client.connection.pending_requests") == 1)
    with pytest.raises(PoolExhausted):
        await timed_out
    assert await figures() == (0, 7, 5, 3, 7, 0, 1)

    for conn in conns:
        await manager.putconn(conn)
    await until(lambda: telemetry.value("db.client.connection.count", state="used") == 0)
    assert telemetry.point("db.client.connection.use_time").count == 7


class Exporter(MetricExporter):
    """Keeps the points that a reader's thread exports."""

    def __init__(self) -> None:
        super().__init__()
        self.exported: list[dict[str, list[Any]]] = []

    def export(
        self, metrics_data: MetricsData, timeout_millis: float = 10_000, **_: Any
    ) -> MetricExportResult:
        self.exported.append(points_of(metrics_data))
        return MetricExportResult.SUCCESS

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        return True

    def shutdown(self, timeout_millis: float = 30_000, **_: Any) -> None:
        pass


async def test_readers_in_their_own_threads_count_each_checkout_once(
    alone: Cluster,
) -> None:
    exporters = [Exporter(), Exporter()]
    provider = MeterProvider(
        [PeriodicExportingMetricReader(exporter, 50) for exporter in exporters],
        shutdown_on_exit=False,
    )
    checkouts = 0

    def enough() -> bool:
        counts = [len(exporter.exported) for exporter in exporters]
        return checkouts > 1000 and all(c >= b + 6 for c, b in zip(counts, began, strict=True))

    async def work(manager: ConnectionManager) -> None:
        nonlocal checkouts
        while not enough():
            async with manager.connection() as conn:
                checkouts += 1
                await conn.execute("select 1")

    async with ConnectionManager(alone.conninfo(), min_size=4, name="orders") as manager:
        instrument(manager, meter_provider=provider)
        await manager.wait()
        held = await manager.getconn()
        began = [len(exporter.exported) for exporter in exporters]
        await asyncio.gather(*(work(manager) for _ in range(8)))
        await manager.putconn(held)
    # A collection may take as long as the interval, so give the last one more time.
    assert await asyncio.to_thread(provider.force_flush, 10_000)
    await asyncio.to_thread(provider.shutdown)

    for exporter, start in zip(exporters, began, strict=True):
        for name in ("wait_time", "use_time"):
            counts = [
                points[f"db.client.connection.{name}"][0].count
                for points in exporter.exported
                if f"db.client.connection.{name}" in points
            ]
            assert counts == sorted(counts)
            assert len(set(counts)) > 3  # the readers collected during the work
            assert counts[-1] == checkouts + 1
        assert exporter.exported[-1]["db.client.connection.create_time"][0].count == 4
        pools = [
            {point.attributes["db.client.connection.state"]: point.value for point in points}
            for points in (item["db.client.connection.count"] for item in exporter.exported)
        ]
        assert all(0 <= pool["idle"] <= 4 and 0 <= pool["used"] <= 4 for pool in pools)
        assert all(pool["used"] > 0 for pool in pools[start + 1 : start + 6])


async def test_a_closed_manager_is_in_the_last_export_and_later_dropped(
    alone: Cluster, telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with ConnectionManager(alone.conninfo(), min_size=1, name="job") as manager:
        instrument(manager, meter_provider=telemetry.meters)
        await fill(manager, 1)

    assert telemetry.point("db.client.connection.wait_time").count == 1
    assert telemetry.value("db.client.connection.count", state="idle") == 0
    assert telemetry.value("pgmoor.manager.state", state="closed") == 1

    monkeypatch.setattr(_meters, "REPORT_AFTER_CLOSE", 0.0)
    telemetry.collect()
    assert not any(
        point.attributes.get(POOL) == "job" for point in telemetry.collect().get("pgmoor.ready", [])
    )


async def test_two_managers_have_separate_figures(alone: Cluster, telemetry: Telemetry) -> None:
    async with (
        ConnectionManager(alone.conninfo(), min_size=1, name="orders") as orders,
        ConnectionManager(alone.conninfo(), min_size=2, name="users") as users,
    ):
        for manager in (orders, users):
            instrument(manager, meter_provider=telemetry.meters)
            await manager.wait()
        await fill(users, 2)

        sizes = {
            point.attributes[POOL]: point.value
            for point in telemetry.collect()["db.client.connection.idle.min"]
        }
        waits = {
            point.attributes[POOL]: point.count
            for point in telemetry.collect()["db.client.connection.wait_time"]
        }

    assert sizes == {"orders": 1, "users": 2}
    assert waits == {"users": 2}


async def test_two_open_managers_of_one_name_are_an_error(
    alone: Cluster, telemetry: Telemetry
) -> None:
    async with ConnectionManager(alone.conninfo(), min_size=1, name="orders") as manager:
        first = instrument(manager, meter_provider=telemetry.meters)
        with pytest.raises(ValueError, match="'orders' is already reported on"):
            instrument(manager, meter_provider=telemetry.meters)
        first.uninstrument()
        instrument(manager, meter_provider=telemetry.meters)

    again = ConnectionManager(alone.conninfo(), name="orders")
    instrument(again, meter_provider=telemetry.meters)  # the first of the name is closed

    assert telemetry.value("pgmoor.manager.state", state="new") == 1


async def test_uninstrument_ends_metrics_and_spans(alone: Cluster, telemetry: Telemetry) -> None:
    async with ConnectionManager(alone.conninfo(), min_size=1, name="orders") as manager:
        instrumentation = instrument(
            manager, meter_provider=telemetry.meters, tracer_provider=telemetry.tracers
        )
        await fill(manager, 1)
        assert telemetry.point("db.client.connection.wait_time").count == 1
        spans = len(telemetry.spans())

        instrumentation.uninstrument()
        instrumentation.uninstrument()
        await fill(manager, 1)
        await manager.drain()
        await manager.wait()
        await fill(manager, 1)

        assert telemetry.collect().get("pgmoor.ready", []) == []
        assert telemetry.point("db.client.connection.wait_time").count == 1
        assert len(telemetry.spans()) == spans
        assert manager._instruments == []


GLOBAL = """
import asyncio
from opentelemetry.metrics import set_meter_provider
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from pgmoor import ConnectionManager
from pgmoor.otel import _meters, instrument

instrument(ConnectionManager("host=db1", name="before"))
reader = InMemoryMetricReader()
set_meter_provider(MeterProvider([reader]))
instrument(ConnectionManager("host=db1", name="after"))
scope, = reader.get_metrics_data().resource_metrics[0].scope_metrics
ready, = [metric for metric in scope.metrics if metric.name == "pgmoor.ready"]
names = [point.attributes["db.client.connection.pool.name"] for point in ready.data.data_points]
print(scope.scope.name, *sorted(names))
"""


def test_the_global_provider_can_be_set_later() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", GLOBAL], check=True, capture_output=True, text=True
    )

    assert done.stdout.split() == ["pgmoor", "after", "before"]
    assert done.stderr == ""
