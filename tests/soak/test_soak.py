"""Random faults against three servers under every kind of user, and what must hold all the same."""

from __future__ import annotations

import asyncio
import shutil
from contextlib import AsyncExitStack, asynccontextmanager
from time import monotonic
from typing import TYPE_CHECKING, Any

import pytest

from pgmoor import ConnectionManager
from pgmoor.testing import Cluster, FaultProxy
from soak import actors, audit, keepers
from soak.company import Company
from soak.faults import Stage
from soak.hearing import Hearing
from soak.journal import Journal, table
from soak.ledger import SCHEMA, Ledger
from soak.orchestrator import Orchestrator
from soak.play import Play, Stuck
from soak.schedule import episodes, manager_settings
from soak.watch import SLACK, Bounds, Watch

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine
    from pathlib import Path

SERVERS = {
    "max_connections": "50",
    "superuser_reserved_connections": "6",
    "synchronous_commit": "on",
}
USER = "user=soak dbname=postgres connect_timeout=3"
BACKOFF_CAP = 1.0  # seconds, the manager's default


async def prepare(cluster: Cluster) -> None:
    """Make the table and the users."""
    for statement in (
        *SCHEMA.split(";")[:-1],
        "create role soak login",
        "create role hog login",
        "grant all on soak to soak",
    ):
        await cluster[0].sql(statement)


@asynccontextmanager
async def background(*work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run tasks for as long as the block takes."""
    tasks = [asyncio.create_task(one, name="soak-background") for one in work]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        for task in tasks:
            if not task.cancelled() and (error := task.exception()):
                raise error


@pytest.mark.soak
async def test_soak(
    seed: int, summary: list[str], pytestconfig: pytest.Config, tmp_path: Path
) -> None:
    seconds: float = pytestconfig.getoption("--soak-seconds")
    journal = Journal()
    try:
        async with Cluster(standbys=2, synchronous=True, settings=SERVERS) as cluster:
            await prepare(cluster)
            try:
                await soak(seed, seconds, cluster, journal, summary)
            finally:
                for node in cluster.nodes:
                    shutil.copy(node.log_file, tmp_path / f"{node.name}.log")
    finally:
        summary += [journal.complaint() or "no violation"]
    if journal.violations:
        summary.append(f"the servers' logs are in {tmp_path}")
        pytest.fail(f"seed {seed}\n{journal.complaint()}", pytrace=False)


async def soak(
    seed: int, seconds: float, cluster: Cluster, journal: Journal, summary: list[str]
) -> None:
    """Play the episodes of a seed for *seconds*, and audit what is left of it."""
    settings = manager_settings(seed)
    journal.note(f"seed {seed}, settings {settings}")
    bounds = Bounds.of(settings)
    async with AsyncExitStack() as stack:
        doors = {
            node: stack.enter_context(FaultProxy(node.host, node.port)) for node in cluster.nodes
        }
        addresses = [f"{door.host}:{door.port}" for door in doors.values()]
        baseline = audit.Baseline()
        manager = ConnectionManager(f"{USER} application_name=soak", hosts=addresses, **settings)
        aside = ConnectionManager(
            f"{USER} application_name=soak-aside",
            hosts=addresses,
            target="prefer-standby",
            **{**settings, "min_size": 1, "max_size": 2},
        )
        watch, ledger, hearing = Watch(journal.violated), Ledger(), Hearing(manager)
        orchestrator = Orchestrator(cluster, hearing, watch, journal)
        company = Company(
            seed,
            manager,
            aside,
            addresses,
            bounds,
            ledger,
            watch,
            journal,
            hearing,
            settings["close_returns"],
        )
        await manager.open(wait=True)
        await aside.open(wait=True)
        events = asyncio.create_task(keepers.count_events(company), name="soak-events")
        play = Play(Stage(orchestrator, doors, watch, journal), company, flow_limit(settings))
        async with background(watch.run(), hearing.run()):
            actors.cast(company)
            keepers.cast(company)
            try:
                played = await play.run(episodes(seed), seconds)
                await play.quiet_audit()
            except Stuck:
                played = -1
                await orchestrator.restore()
            await company.end(bounds.timeout + 3 * bounds.commit)
        for one, _ in company.managers:
            began = monotonic()
            await one.close()
            if monotonic() - began > bounds.close + SLACK:
                journal.violated("overdue", f"close() took {monotonic() - began:.2f} s")
        await asyncio.wait([events], timeout=1)
        await audit.sessions_left(cluster, journal)
        await audit.rows(cluster, orchestrator.primary, ledger, journal)
        await baseline.compare(journal)
        summary += report(settings, played, watch, ledger, journal)


def flow_limit(settings: dict[str, Any]) -> float:
    """Return within how many seconds all writers are to write again once all is healed."""
    noticed = settings["health_interval"] + 2 * settings["health_timeout"]
    return float(noticed + BACKOFF_CAP + 2 * SLACK)


def report(
    settings: dict[str, Any], played: int, watch: Watch, ledger: Ledger, journal: Journal
) -> list[str]:
    """Return the figures of a run."""
    waits = sorted(journal.waits)
    flow = (
        f"{waits[len(waits) // 2]:.2f} s in the median, {waits[-1]:.2f} s at worst"
        if waits
        else "-"
    )
    worst = sorted(watch.worst.items(), key=lambda item: -item[1])
    fates = {fate.value: count for fate, count in ledger.count().items()}
    return [
        f"settings: {', '.join(f'{key}={value}' for key, value in settings.items())}",
        f"{played} episodes in {monotonic() - journal.began:.0f} s",
        table(f"operations ({sum(watch.count.values())})", watch.count),
        table("rows", fates),
        table("operations that failed, by type", journal.errors),
        table("faults", journal.faults),
        table("happened", journal.counts),
        f"traffic again: {flow}",
        f"longest: {', '.join(f'{stage} {took:.2f} s' for stage, took in worst)}",
        f"the loop was late by {watch.worst_lag:.2f} s at worst",
    ]
