"""What Prometheus scrapes: every metric, for several managers, from another thread."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import TYPE_CHECKING, Any
from urllib.request import urlopen

import pytest
from prometheus_client import CollectorRegistry, generate_latest, start_http_server
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as parse_openmetrics,
)
from prometheus_client.parser import text_string_to_metric_families

from metrics.telemetry import Scrape
from pgmoor import ConnectionManager, PoolExhausted
from pgmoor._metrics.catalogue import METRICS, Kind
from pgmoor.prometheus import Collector
from support import Workload, fill, hold, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgmoor.testing import Cluster


def openmetrics_of(scrape: Scrape) -> list[Any]:
    text: bytes = generate_openmetrics(scrape.registry)  # type: ignore[no-untyped-call]
    return list(parse_openmetrics(text.decode()))  # type: ignore[no-untyped-call]


async def test_every_metric_is_exposed_with_its_kind(
    alone: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(*alone, name="orders")
    await fill(manager, 2)
    scrape = Scrape(manager)

    families = list(text_string_to_metric_families(generate_latest(scrape.registry).decode()))
    modern = openmetrics_of(scrape)

    kinds = {Kind.COUNTER: "counter", Kind.HISTOGRAM: "histogram"}
    wanted = {
        metric.prometheus.removesuffix("_total"): kinds.get(metric.kind, "gauge")
        for metric in METRICS
    }
    assert {family.name: family.type for family in families} == wanted
    assert {family.name: family.type for family in modern} == wanted
    assert all(family.documentation for family in families)
    for family in families:
        assert all(sample.labels["manager"] == "orders" for sample in family.samples)


async def test_counts_and_sums_are_those_of_the_checkouts(
    alone: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(*alone, min_size=2, max_size=2)
    scrape = Scrape(manager)
    await manager.wait()
    for _ in range(30):
        async with manager.connection() as conn:
            await conn.execute("select pg_sleep(0.002)")
    conns = await hold(manager, 2)
    with pytest.raises(PoolExhausted):
        await manager.getconn(timeout=0.05)

    assert scrape.value("pgmoor_connections", state="used") == 2
    assert scrape.value("pgmoor_connections", state="idle") == 0
    assert scrape.value("pgmoor_timeouts_total") == 1
    assert scrape.value("pgmoor_connection_wait_seconds_count") == 32
    assert scrape.value("pgmoor_connection_wait_seconds_bucket", le="+Inf") == 32
    assert scrape.value("pgmoor_connection_use_seconds_count") == 30
    assert 0.06 <= scrape.value("pgmoor_connection_use_seconds_sum") < 3
    assert scrape.value("pgmoor_connection_use_seconds_bucket", le="0.001") == 0
    assert scrape.value("pgmoor_connection_create_seconds_count") == 2
    for conn in conns:
        await manager.putconn(conn)
    assert scrape.value("pgmoor_connections", state="idle") == 2


async def test_a_server_in_another_thread_can_be_scraped_under_load(
    alone: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(*alone)
    registry = CollectorRegistry()
    registry.register(Collector(manager))
    server, thread = start_http_server(0, "127.0.0.1", registry)

    def scrape() -> dict[str, float]:
        url = f"http://127.0.0.1:{server.server_port}/metrics"
        with urlopen(url, timeout=5) as answer:
            text = answer.read().decode()
        return {
            "".join([sample.name, *(f" {value}" for value in sample.labels.values())]): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    try:
        async with Workload(manager, tasks=8, pause=0.0):
            scrapes = [await asyncio.to_thread(scrape) for _ in range(20)]
        last = await asyncio.to_thread(scrape)
    finally:
        await asyncio.to_thread(server.shutdown)
        server.server_close()
        await asyncio.to_thread(thread.join)

    name = f"pgmoor_connection_use_seconds_count {manager.name}"
    counts = [values[name] for values in scrapes]
    assert counts == sorted(counts)
    assert counts[0] < counts[-1] <= last[name]
    for values in scrapes:
        assert values[f"pgmoor_ready {manager.name}"] == 1
        used = values[f"pgmoor_connections {manager.name} used"]
        assert 0 <= used <= manager.max_size
    assert max(values[f"pgmoor_connections {manager.name} used"] for values in scrapes) > 0
    assert last[f"pgmoor_connection_wait_seconds_count {manager.name}"] == last[name]


async def test_several_managers_share_a_collector_and_a_closed_one_is_dropped(
    alone: Cluster, moor: Callable[..., Any]
) -> None:
    orders = await moor(*alone, name="orders", min_size=1)
    scrape = Scrape(orders)
    users = await moor(*alone, name="users", min_size=2)
    scrape.collector.add(users)
    with pytest.raises(ValueError, match="'users' is already reported on"):
        scrape.collector.add(users)

    def managers() -> set[str]:
        return {labels["manager"] for _, labels, _ in scrape.samples()}

    assert managers() == {"orders", "users"}
    assert scrape.value("pgmoor_connections_idle_min", manager="users") == 2

    await users.close()
    assert managers() == {"orders"}
    await until(lambda: users._instruments == [])

    again = await moor(*alone, name="users")
    scrape.collector.add(again)
    assert managers() == {"orders", "users"}

    scrape.collector.remove(again)
    scrape.collector.remove(again)
    assert managers() == {"orders"}
    await until(lambda: again._instruments == [])


async def test_a_registry_takes_one_collector_until_it_is_unregistered(
    alone: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(*alone)
    scrape = Scrape(manager)
    with pytest.raises(ValueError, match="Duplicated timeseries"):
        scrape.registry.register(Collector(ConnectionManager("host=db1", name="other")))

    scrape.registry.unregister(scrape.collector)

    assert generate_latest(scrape.registry) == b""


async def test_a_manager_that_is_not_open_yet_is_reported_on() -> None:
    manager = ConnectionManager("host=db1,db2", name="orders", min_size=2, max_size=5)
    scrape = Scrape(manager)

    assert scrape.value("pgmoor_ready") == 0
    assert scrape.value("pgmoor_manager_state", state="new") == 1
    assert scrape.value("pgmoor_connections_max") == 5
    assert scrape.value("pgmoor_host_state", host="db2:5432", state="unknown") == 1
    await manager.close()
    assert scrape.samples() == []


def test_a_name_with_several_addresses_is_reported_once() -> None:
    manager = ConnectionManager("host=db,db hostaddr=192.0.2.1,192.0.2.2", name="orders")
    scrape = Scrape(manager)

    assert scrape.value("pgmoor_host_in_use", host="db:5432") == 0


async def test_no_secret_is_in_a_label(alone: Cluster, moor: Callable[..., Any]) -> None:
    node = alone[0]
    manager = ConnectionManager(
        f"postgresql://postgres:hunter2secret@{node.host}:{node.port}/postgres", min_size=1
    )
    scrape = Scrape(manager)
    async with manager:
        await fill(manager, 1)
        await until(lambda: scrape.value("pgmoor_ready") == 1)
        text = generate_latest(scrape.registry).decode()

    assert "hunter2secret" not in text
    assert "postgres" not in text.replace("postgresql", "")


WITHOUT = """
import sys
import pgmoor
edges = [name for name in sys.modules if name.startswith(("pgmoor.otel", "pgmoor.prometheus"))]
assert not edges and "pgmoor._metrics" not in sys.modules, edges
for name in ("opentelemetry.trace", "prometheus_client.metrics_core"):
    sys.modules[name] = None
for extra in ("otel", "prometheus"):
    try:
        __import__(f"pgmoor.{extra}")
    except ImportError as error:
        print(error)
"""


def test_the_extras_are_imported_on_demand_and_named_if_missing() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", WITHOUT], check=True, capture_output=True, text=True
    )

    assert done.stdout.splitlines() == [
        'pgmoor.otel needs opentelemetry-api: pip install "pgmoor[otel]"',
        'pgmoor.prometheus needs prometheus-client: pip install "pgmoor[prometheus]"',
    ]
