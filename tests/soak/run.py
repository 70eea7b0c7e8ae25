"""One run: two managers, their users, the faults, and the audit at the end."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from time import monotonic
from typing import TYPE_CHECKING, Any

from pgmoor import ConnectionManager
from soak import actors, audit, operators
from soak.faults import FaultInjector
from soak.journal import table
from soak.ledger import Ledger
from soak.lists import Lists
from soak.orchestrator import Orchestrator
from soak.play import Play, Stuck
from soak.promotions import Promotions
from soak.schedule import episodes, manager_settings
from soak.tolerance import Tolerance
from soak.users import Users
from soak.watch import SLACK, Bounds, Watch

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine
    from pathlib import Path

    from pgmoor.testing import Cluster, FaultProxy, Node
    from soak.journal import Journal
    from soak.poolers import Poolers

USER = "user=soak dbname=postgres connect_timeout=3"
BACKOFF_CAP = 1.0  # seconds, the manager's default


class Run:
    """One run; `go()` opens and closes everything."""

    def __init__(
        self,
        seed: int,
        cluster: Cluster,
        doors: dict[Node, FaultProxy],
        poolers: Poolers,
        *,
        journal: Journal,
        history: Path,
    ) -> None:
        self._seed = seed
        self._cluster = cluster
        self._journal = journal
        self._settings = manager_settings(seed)
        self._bounds = Bounds.of(self._settings)
        addresses = [f"{door.host}:{door.port}" for door in doors.values()]
        manager = ConnectionManager(
            f"{USER} application_name=soak", hosts=addresses, **self._settings
        )
        aside = ConnectionManager(
            f"{USER} application_name=soak-aside",
            hosts=addresses,
            target="prefer-standby",
            **{**self._settings, "min_size": 1, "max_size": 2},
        )
        fronts = [f"{front.host}:{front.port}" for front in poolers.fronts.values()]
        pooled = fronts and ConnectionManager(
            "user=soak dbname=postgres connect_timeout=3",
            hosts=fronts,
            target="primary",
            **{**self._settings, "min_size": 1, "max_size": 2, "max_overflow": 0},
        )
        tolerance = Tolerance()
        self._watch, self._ledger = Watch(journal.violated), Ledger(tolerance)
        self._managers = [manager, aside, *([pooled] if pooled else [])]
        self._promotions = Promotions([manager, *([pooled] if pooled else [])])
        self._orchestrator = Orchestrator(cluster, self._promotions, self._watch, journal)
        self._users = Users(
            seed,
            manager,
            aside,
            pooled or None,
            addresses,
            self._bounds,
            self._ledger,
            self._watch,
            journal,
            self._promotions,
            tolerance,
            self._settings["close_returns"],
        )
        self._lists = Lists(self._users, history)
        injector = FaultInjector(
            self._orchestrator,
            doors,
            poolers,
            watch=self._watch,
            tolerance=tolerance,
            journal=journal,
        )
        self._play = Play(injector, self._users, flow_limit(self._settings))

    async def go(self, seconds: float) -> None:
        """Open the managers, play the seed's episodes for *seconds*, and close everything."""
        self._journal.note(f"seed {self._seed}, settings {self._settings}")
        baseline = audit.Baseline()
        try:
            for manager in self._managers:
                await manager.open(wait=True)
            events = asyncio.create_task(operators.count_events(self._users), name="soak-events")
            async with _background(self._watch.run(), self._promotions.run()):
                await self._work(seconds)
        finally:
            await self._close()
        await asyncio.wait([events], timeout=1)
        await self._orchestrator.restore()
        await audit.sessions_left(self._cluster, self._journal)
        await self._lists.judge(self._orchestrator.primary.sql)
        await audit.rows(self._cluster, self._orchestrator.primary, self._ledger, self._journal)
        await baseline.compare(self._journal)

    async def _work(self, seconds: float) -> None:
        actors.start_all(self._users)
        operators.start_all(self._users)
        self._lists.start_all()
        try:
            await self._play.run(episodes(self._seed), seconds)
            await self._play.quiet_audit()
        except Stuck:
            await self._orchestrator.restore()
        finally:
            await self._users.end(self._bounds.timeout + 3 * self._bounds.commit)

    async def _close(self) -> None:
        for manager in self._managers:
            began = monotonic()
            await manager.close()
            if monotonic() - began > self._bounds.close + SLACK:
                self._journal.violated("overdue", f"close() took {monotonic() - began:.2f} s")

    def report(self) -> list[str]:
        """Return the figures of the run."""
        journal, watch = self._journal, self._watch
        waits = sorted(journal.waits) or [0.0]
        worst = sorted(watch.worst.items(), key=lambda item: -item[1])
        fates = {fate.value: count for fate, count in self._ledger.count().items()}
        return [
            f"settings: {', '.join(f'{key}={value}' for key, value in self._settings.items())}",
            f"{self._play.played} episodes in {monotonic() - journal.began:.0f} s",
            table(f"operations ({sum(watch.count.values())})", watch.count),
            table("rows", fates),
            table("operations that failed, by type", journal.errors),
            table("faults", journal.faults),
            table("other counts", journal.counts),
            f"traffic again: {waits[len(waits) // 2]:.2f} s in the median",
            f"traffic again at worst: {waits[-1]:.2f} s, after {journal.slowest_flow or 'nothing'}",
            f"longest: {', '.join(f'{step} {took:.2f} s' for step, took in worst)}",
            f"the loop was late by {watch.worst_lag:.2f} s at worst",
        ]


def flow_limit(settings: dict[str, Any]) -> float:
    """Return within how many seconds all writers must write again after everything is healed."""
    noticed = settings["health_interval"] + 2 * settings["health_timeout"]
    return float(noticed + BACKOFF_CAP + 2 * SLACK)


@asynccontextmanager
async def _background(*work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
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
