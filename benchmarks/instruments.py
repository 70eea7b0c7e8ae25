"""Measures what metrics cost a checkout: without any, with OpenTelemetry's SDK, with Prometheus.

One task takes a connection of a full pool and gives it back. In each round every instrument gets a
short slice, in random order; what it adds is the difference to the slice without one in the same
round. The figures are medians of processor time over the rounds, so that other work on the machine
counts for less.

- at the checkout: the time of the event loop's thread.
- at the collection: the time of the reader's thread, or of the scrape, for each checkout.
- "each record at once" calls the SDK's histograms during the checkout, without buckets of our own.

    python benchmarks/instruments.py [--rounds 15] [--seconds 0.25] [--loop uvloop] [--json FILE]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import platform
from importlib.metadata import version
from pathlib import Path
from random import sample
from statistics import median
from time import perf_counter, thread_time
from typing import TYPE_CHECKING, Any

import uvloop
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from prometheus_client import CollectorRegistry, generate_latest
from rich.console import Console
from rich.table import Table

from pgmoor import ConnectionManager
from pgmoor.instruments import Instrument
from pgmoor.otel import instrument
from pgmoor.prometheus import Collector
from pgmoor.testing import Cluster

if TYPE_CHECKING:
    from collections.abc import Callable

POOL = 4
BATCH = 50
WANTED = 1.0  # microseconds that a checkout may cost more
PACKAGES = ["pgmoor", "psycopg", "opentelemetry-sdk", "prometheus-client", "uvloop"]


class AtOnce(Instrument):
    """Records in the SDK's histograms while the caller waits."""

    def __init__(self, provider: MeterProvider) -> None:
        meter = provider.get_meter("benchmark")
        self._attributes = {"db.client.connection.pool.name": "benchmark"}
        self._waits = meter.create_histogram("db.client.connection.wait_time", "s")
        self._uses = meter.create_histogram("db.client.connection.use_time", "s")

    def checked_out(self, waited: float) -> None:
        self._waits.record(waited, self._attributes)

    def returned(self, held: float) -> None:
        self._uses.record(held, self._attributes)


def nothing(_: ConnectionManager) -> Callable[[], object]:
    return lambda: None


def opentelemetry(manager: ConnectionManager) -> Callable[[], object]:
    reader = InMemoryMetricReader()
    meters = MeterProvider([reader])
    instrument(manager, meter_provider=meters, tracer_provider=TracerProvider())
    return reader.get_metrics_data


def at_once(manager: ConnectionManager) -> Callable[[], object]:
    reader = InMemoryMetricReader()
    manager.instrument(AtOnce(MeterProvider([reader])))
    return reader.get_metrics_data


def prometheus(manager: ConnectionManager) -> Callable[[], object]:
    registry = CollectorRegistry()
    registry.register(Collector(manager))
    return lambda: generate_latest(registry)


CONTESTANTS = {
    "without": nothing,
    "OpenTelemetry": opentelemetry,
    "Prometheus": prometheus,
    "OpenTelemetry, each record at once": at_once,
}


async def checkouts(manager: ConnectionManager, seconds: float) -> tuple[int, float]:
    """Return the number of checkouts, and the microseconds of processor time for one."""
    acquire = manager.connection
    done = 0
    began, deadline = thread_time(), perf_counter() + seconds
    while perf_counter() < deadline:
        for _ in range(BATCH):
            async with acquire():
                pass
        done += BATCH
    return done, (thread_time() - began) / done * 1e6


async def measure(rounds: int, seconds: float) -> dict[str, dict[str, list[float]]]:
    """Return the figures of each round: microseconds at the checkout and at the collection."""
    found: dict[str, dict[str, list[float]]] = {
        name: {"checkout": [], "collection": []} for name in CONTESTANTS
    }
    async with Cluster(0) as cluster:
        managers = {
            name: ConnectionManager(cluster.conninfo(), min_size=POOL, name=name)
            for name in CONTESTANTS
        }
        collects = {name: CONTESTANTS[name](manager) for name, manager in managers.items()}
        try:
            for manager in managers.values():
                await manager.open(wait=True)
                await checkouts(manager, seconds)
            for _ in range(rounds):
                for name in sample(list(managers), len(managers)):
                    collects[name]()
                    done, micros = await checkouts(managers[name], seconds)
                    began = thread_time()
                    collects[name]()
                    found[name]["checkout"].append(micros)
                    found[name]["collection"].append((thread_time() - began) / done * 1e6)
        finally:
            for manager in managers.values():
                await manager.close()
    return found


def show(console: Console, found: dict[str, dict[str, list[float]]]) -> None:
    table = Table(title="what metrics cost a checkout, in µs", title_justify="left")
    table.add_column("with")
    for column in ("a checkout", "x without", "added", "wanted", "at the collection"):
        table.add_column(column, justify="right")
    reference = found["without"]["checkout"]
    for name, figures in found.items():
        pairs = list(zip(figures["checkout"], reference, strict=True))
        table.add_row(
            name,
            f"{median(figures['checkout']):.2f}",
            f"{median(mine / theirs for mine, theirs in pairs):.2f}",
            f"{median(mine - theirs for mine, theirs in pairs):.2f}",
            f"<= {WANTED:.1f}" if name in ("OpenTelemetry", "Prometheus") else "",
            f"{median(figures['collection']):.2f}",
        )
    console.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--seconds", type=float, default=0.25, help="of one slice")
    parser.add_argument("--loop", choices=["asyncio", "uvloop"], default="asyncio")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    factory = uvloop.new_event_loop if args.loop == "uvloop" else asyncio.new_event_loop
    facts: dict[str, Any] = {"python": platform.python_version(), "loop": args.loop}
    facts |= {name: version(name) for name in PACKAGES}
    console = Console(width=110)
    console.print(", ".join(f"{key} {value}" for key, value in facts.items()))
    with asyncio.Runner(loop_factory=factory) as runner:
        found = runner.run(measure(args.rounds, args.seconds))
    show(console, found)
    if args.json:
        args.json.write_text(json.dumps({"machine": facts, "micros": found}, indent=1))


if __name__ == "__main__":
    main()
