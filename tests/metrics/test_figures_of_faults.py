"""Metrics during real faults, the same from both exporters."""

from __future__ import annotations

import asyncio
import threading
from time import monotonic
from typing import TYPE_CHECKING, Any

import pytest

from metrics.telemetry import Scrape
from pgmoor.events import Failover, HostDown, HostUp, OutageEnded, OutageStarted, SplitBrain
from pgmoor.otel import instrument
from support import Workload, hold, recorder, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from metrics.telemetry import Telemetry
    from pgmoor.testing import Cluster


def label(server: Any) -> str:
    return f"{server.host}:{server.port}"


async def test_a_crash_with_a_late_promotion(
    pair: Cluster, telemetry: Telemetry, moor: Callable[..., Any]
) -> None:
    manager = await moor(*pair)
    instrument(manager, meter_provider=telemetry.meters)
    scrape = Scrape(manager)
    old, new = label(pair[0]), label(pair[1])
    async with Workload(manager) as work:
        await pair[0].kill()
        await recorder(manager).wait_for(OutageStarted)
        assert scrape.value("pgmoor_ready") == 0
        assert scrape.value("pgmoor_manager_state", state="outage") == 1
        assert scrape.value("pgmoor_host_state", host=old, state="down") == 1
        so_far = scrape.value("pgmoor_outage_seconds_total")
        await until(lambda: scrape.value("pgmoor_outage_seconds_total") > so_far)
        await until(lambda: scrape.value("pgmoor_pending_requests") == 16)

        await pair[1].promote()
        ended = await recorder(manager).wait_for(OutageEnded)
        await work.flowing(monotonic())
        failed = len(work.failed)

    failover = await recorder(manager).wait_for(Failover)
    outage = scrape.value("pgmoor_outage_seconds_total")
    assert scrape.value("pgmoor_failovers_total") == 1
    assert outage == pytest.approx(ended.seconds, abs=0.05)
    assert scrape.value("pgmoor_detection_seconds_count") == 1
    assert 0 < scrape.value("pgmoor_detection_seconds_sum") < 1
    assert scrape.value("pgmoor_recovery_seconds_count") == 1
    assert scrape.value("pgmoor_recovery_seconds_sum") == pytest.approx(outage, abs=0.05)
    assert scrape.value("pgmoor_recovery_seconds_sum") <= failover.seconds + 0.05
    assert scrape.value("pgmoor_reconnect_attempts_total") >= 1
    assert scrape.value("pgmoor_probe_failures_total", host=old, kind="refused") >= 1
    assert scrape.value("pgmoor_host_in_use", host=new) == 1
    assert scrape.value("pgmoor_host_in_use", host=old) == 0
    assert scrape.value("pgmoor_host_role", host=new, role="primary") == 1
    assert scrape.value("pgmoor_timeouts_total") == 0
    # Each caller of the workload got a connection, including those whose work then failed.
    await until(lambda: scrape.value("pgmoor_connections", state="used") == 0)
    checkouts = scrape.value("pgmoor_connection_wait_seconds_count")
    assert checkouts >= len(work.acknowledged) + failed
    assert scrape.value("pgmoor_connection_use_seconds_count") == checkouts
    assert scrape.value("pgmoor_connection_wait_seconds_sum") >= 16 * 0.5 * outage

    assert telemetry.value("pgmoor.failovers") == 1
    assert telemetry.value("pgmoor.outage.time") == pytest.approx(outage, abs=0.01)
    assert telemetry.point("db.client.connection.wait_time").count == checkouts
    assert telemetry.point("pgmoor.recovery.duration").sum == pytest.approx(outage, abs=0.05)
    assert telemetry.value("pgmoor.host.in_use", address="127.0.0.1", port=pair[1].port) == 1
    assert telemetry.value("pgmoor.events", name="OutageStarted") == 1


async def test_the_detection_of_a_silent_host_counts_from_the_first_unanswered_probe(
    pair: Cluster, moor: Callable[..., Any], proxies: Callable[..., Any]
) -> None:
    doors = proxies(pair)
    manager = await moor(*doors, health_interval=0.1, health_timeout=0.3, stall_timeout=0.3)
    scrape = Scrape(manager)
    await manager.wait()
    conns = await hold(manager, 3)
    queries = [asyncio.create_task(conn.execute("select pg_sleep(60)")) for conn in conns]
    await until(lambda: scrape.value("pgmoor_probe_seconds_count", host=label(doors[1])) > 1)

    doors[0].silent()
    await recorder(manager).wait_for(HostDown, where=lambda event: event.status == "silent")
    await recorder(manager).wait_for(OutageStarted)
    await pair[1].promote()
    await recorder(manager).wait_for(Failover)
    await asyncio.wait(queries)
    assert all(query.exception() for query in queries)

    # Two probes in a row timed out, each after 0.3 s.
    assert 0.6 <= scrape.value("pgmoor_detection_seconds_sum") < 2.5
    assert scrape.value("pgmoor_detection_seconds_count") == 1
    assert scrape.value("pgmoor_failovers_total") == 1
    assert scrape.value("pgmoor_connections_aborted_total", host=label(doors[0])) >= 3
    assert scrape.value("pgmoor_probe_failures_total", host=label(doors[0]), kind="timeout") >= 2
    for conn in conns:
        await manager.putconn(conn)


async def test_a_restart_of_the_only_server_is_an_outage_and_no_failover(
    alone: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(*alone)
    scrape = Scrape(manager)
    await manager.wait()
    await alone[0].stop()
    began = await recorder(manager).wait_for(OutageStarted)
    await alone[0].start()
    ended = await recorder(manager).wait_for(OutageEnded)

    seconds = scrape.value("pgmoor_outage_seconds_total")
    assert seconds == pytest.approx(ended.seconds, abs=0.05)
    assert seconds >= ended.at - began.at
    assert scrape.value("pgmoor_failovers_total") == 0
    assert scrape.value("pgmoor_recovery_seconds_count") == 1
    assert scrape.value("pgmoor_events_total", event="OutageEnded") == 1
    assert scrape.value("pgmoor_ready") == 1


async def test_an_old_primary_that_returns_is_stale(
    pair: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(*pair, health_interval=0.1)
    scrape = Scrape(manager)
    await manager.wait()
    await pair[0].kill()
    await pair[1].promote()
    await recorder(manager).wait_for(Failover)
    await recorder(manager).wait_for(HostDown)
    assert scrape.value("pgmoor_host_stale", host=label(pair[0])) == 0

    await pair[0].start()
    await recorder(manager).wait_for(SplitBrain)

    assert scrape.value("pgmoor_host_stale", host=label(pair[0])) == 1
    assert scrape.value("pgmoor_events_total", event="SplitBrain") == 1


async def test_the_lag_of_a_standby_is_reported_while_it_is_up(
    pair: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(*pair, health_interval=0.1)
    scrape = Scrape(manager)
    standby = label(pair[1])
    await recorder(manager).wait_for(HostUp, where=lambda event: event.host == standby)
    await until(lambda: scrape.value("pgmoor_host_lag_seconds", host=standby) == 0)

    await pair[1].sql("select pg_wal_replay_pause()")
    await pair[0].sql("insert into work values ('behind')")
    await until(lambda: scrape.value("pgmoor_host_lag_seconds", host=standby) > 0.2)

    await pair[1].kill()
    await recorder(manager).wait_for(HostDown)
    assert "pgmoor_host_lag_seconds" not in {name for name, _, _ in scrape.samples()}


async def test_other_threads_read_growing_totals_during_a_failover(
    pair: Cluster, telemetry: Telemetry, moor: Callable[..., Any]
) -> None:
    manager = await moor(*pair, health_interval=0.1)
    instrument(manager, meter_provider=telemetry.meters)
    scrape = Scrape(manager)
    done = threading.Event()

    def read(newest: Callable[[], tuple[float, ...]]) -> int:
        """Read until *done*; return how often. A total that shrinks fails the test."""
        before: tuple[float, ...] = (0.0, 0.0, 0.0)
        times = 0
        while not done.is_set():
            values = newest()
            assert all(now >= then for now, then in zip(values, before, strict=True))
            before = values
            times += 1
        return times

    def scraped() -> tuple[float, ...]:
        found = {name: value for name, _, value in scrape.samples()}
        return (
            found["pgmoor_failovers_total"],
            found["pgmoor_outage_seconds_total"],
            found["pgmoor_connection_wait_seconds_count"],
        )

    def collected() -> tuple[float, ...]:
        points = telemetry.collect()
        waits = points.get("db.client.connection.wait_time")
        return (
            points["pgmoor.failovers"][0].value,
            points["pgmoor.outage.time"][0].value,
            waits[0].count if waits else 0,
        )

    readers = [asyncio.create_task(asyncio.to_thread(read, by)) for by in (scraped, collected)]
    try:
        async with Workload(manager, tasks=8):
            await pair[0].kill()
            await recorder(manager).wait_for(OutageStarted)
            await pair[1].promote()
            await recorder(manager).wait_for(OutageEnded)
            await pair[0].rejoin(pair[1])
            await recorder(manager).wait_for(HostUp, where=lambda event: event.down_for is not None)
    finally:
        done.set()

    assert all(times > 5 for times in await asyncio.gather(*readers))
    assert telemetry.value("pgmoor.failovers") == 1
