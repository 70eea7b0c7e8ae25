"""The metrics, the dashboard and the alert rules, with a real Prometheus and its promtool."""

from __future__ import annotations

import asyncio
import re
import subprocess
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest, start_http_server

from metrics.monitoring import (
    RULES,
    expressions_of_dashboard,
    expressions_of_rules,
    filled_in,
)
from pgmoor import ConnectionManager, NoHostAvailable
from pgmoor.events import Failover, OutageStarted, SplitBrain
from pgmoor.prometheus import Collector
from services.conftest import find_program
from services.prometheus import Prometheus
from support import Workload, recorder, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pgmoor.testing import Cluster


def promtool(*arguments: str, given: bytes | None = None) -> str:
    done = subprocess.run(
        [find_program("promtool"), *arguments], input=given, capture_output=True, check=False
    )
    said = (done.stdout + done.stderr).decode()
    assert done.returncode == 0, said
    return said


def test_promtool_accepts_the_rules_and_the_configuration() -> None:
    promtool("check", "rules", str(RULES))
    promtool("check", "config", str(RULES.with_name("prometheus.yml")))


def test_the_alerts_fire_when_they_should_and_not_before() -> None:
    assert "SUCCESS" in promtool("test", "rules", str(RULES.with_suffix(".test.yml")))


def test_promtool_accepts_the_exposition() -> None:
    registry = CollectorRegistry()
    registry.register(Collector(ConnectionManager("host=db1,db2", name="orders")))

    assert promtool("check", "metrics", given=generate_latest(registry)).strip() == ""


@pytest.fixture
def scraped() -> Iterator[Callable[[Any], Prometheus]]:
    """Have a real Prometheus scrape a manager: `scraped(manager)`."""
    program = find_program("prometheus")
    registry = CollectorRegistry()
    server, thread = start_http_server(0, "127.0.0.1", registry)
    with ExitStack() as stack:

        def start(manager: Any) -> Prometheus:
            registry.register(Collector(manager))
            target = f"127.0.0.1:{server.server_port}"
            return stack.enter_context(Prometheus(program, target, RULES))

        yield start
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.thorough
async def test_every_expression_has_data_after_a_failover_and_a_split_brain(
    pair: Cluster, moor: Callable[..., Any], scraped: Callable[[Any], Prometheus]
) -> None:
    manager = await moor(*pair, name="orders", max_size=5, health_interval=0.1)
    began = time.time()
    prometheus = await asyncio.to_thread(scraped, manager)

    async def seen(expression: str) -> None:
        """Wait until Prometheus has a result."""
        await until(lambda: bool(prometheus.newest(expression)), timeout=30)

    async with Workload(manager, tasks=8):
        await seen('pgmoor_ready{manager="orders"} == 1')
        await seen("pgmoor_host_lag_seconds")
        await seen("rate(pgmoor_connection_wait_seconds_count[4s]) > 0")
        await pair[0].kill()
        await recorder(manager).wait_for(OutageStarted)
        with pytest.raises(NoHostAvailable):
            await manager.getconn(timeout=0.05)
        await seen("pgmoor_ready == 0")
        await pair[1].promote()
        await recorder(manager).wait_for(Failover)
        await pair[0].start()
        await recorder(manager).wait_for(SplitBrain)
        await seen("increase(pgmoor_failovers_total[20s]) > 0")
        await seen('ALERTS{alertname="PgmoorSplitBrain"}')

    # Prometheus evaluates each. The rate of a single event may be empty; its metric has data.
    names: set[str] = set()
    for expression in expressions_of_dashboard():
        prometheus.series(filled_in(expression, rate="4s", span="20s"), began, time.time())
        names |= set(re.findall(r"pgmoor_\w+", expression))
    missing = [name for name in names if not prometheus.series(name, began, time.time())]
    assert [name for name in missing if not name.endswith("_failures_total")] == []
    rules = prometheus.get("rules")["groups"][0]["rules"]
    assert len(rules) == len(expressions_of_rules())
    assert [rule["lastError"] for rule in rules if rule["health"] != "ok"] == []
    (failovers,) = prometheus.newest("pgmoor_failovers_total")
    (outage,) = prometheus.newest("pgmoor_outage_seconds_total")
    assert failovers == 1
    assert 0 < outage < time.time() - began
