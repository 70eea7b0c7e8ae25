"""Those who look after the manager: resize, drain, check, ask, listen; and short-lived ones."""

from __future__ import annotations

import asyncio
import json
from time import monotonic
from typing import TYPE_CHECKING

from pgmoor import ConnectionManager
from soak.audit import MOST

if TYPE_CHECKING:
    import random

    from pgmoor.events import Event
    from soak.company import Company
    from soak.watch import Operation

AT_ONCE = 0.5  # seconds for what asks no server


def cast(company: Company) -> None:
    """Begin with all of them."""
    keeper = Keeper(company)
    company.employ("resizer-0", keeper.resize, 0.5)
    company.employ("drainer-0", keeper.drain, 1.5)
    company.employ("checker-0", keeper.check, 1.0)
    company.employ("asker-0", keeper.ask, 0.3)
    company.employ("waiter-0", keeper.wait, 0.5)
    company.employ("listener-0", keeper.listen, 0.5)
    company.employ("visitor-0", keeper.visit, 0.5)
    company.employ("aside-0", keeper.read_aside, 0.05)
    company.employ("aside-1", keeper.read_aside, 0.05)


class Keeper:
    """The acts; each is one call of the manager's public surface, or a few."""

    def __init__(self, company: Company) -> None:
        self._company = company
        self._manager = company.manager
        self._bounds = company.bounds

    async def resize(self, operation: Operation, rng: random.Random) -> None:
        most = rng.randint(2, MOST)
        operation.at("resize", AT_ONCE)
        await self._manager.resize(rng.randint(0, most), most)

    async def drain(self, operation: Operation, rng: random.Random) -> None:
        operation.at("drain", AT_ONCE)
        await self._manager.drain()

    async def check(self, operation: Operation, rng: random.Random) -> None:
        operation.at("check", self._bounds.probes * MOST)
        await self._manager.check()

    async def ask(self, operation: Operation, rng: random.Random) -> None:
        operation.at("health", self._bounds.probes)
        health = await self._manager.health(fresh=rng.random() < 0.5)
        json.dumps(health.to_dict())
        if not health.live:
            self._company.journal.violated("health", "the open manager is not live")
        stats = self._manager.pop_stats() if rng.random() < 0.1 else self._manager.get_stats()
        if bad := {name: value for name, value in stats.items() if value < 0}:
            self._company.journal.violated("statistics", str(bad))

    async def wait(self, operation: Operation, rng: random.Random) -> None:
        limit = rng.uniform(0.1, 3.0)
        operation.at("wait", limit)
        await (self._manager.wait if rng.random() < 0.5 else self._manager.wait_ready)(limit)

    async def listen(self, operation: Operation, rng: random.Random) -> None:
        """Subscribe for a while, as one that fails, or hangs, or is slow."""

        async def callback(event: Event) -> None:
            await asyncio.sleep(rng.uniform(0, 0.5))

        operation.at("listen", 3.0)
        end = self._manager.subscribe(callback)
        await asyncio.sleep(rng.uniform(0, 2.0))
        end()

    async def read_aside(self, operation: Operation, rng: random.Random) -> None:
        """Read what may be old, by the manager that prefers a standby."""
        operation.at("checkout", self._bounds.timeout)
        async with self._company.aside.connection() as conn:
            operation.at("statement", self._bounds.commit)
            await conn.execute("select count(*) from (select from soak limit 10) rows")
            operation.at("commit", self._bounds.commit)

    async def visit(self, operation: Operation, rng: random.Random) -> None:
        """Open a manager of one's own, use it or not, and close it in whatever state it is."""
        limit = rng.uniform(0.1, 1.0)
        operation.at("visit", 2 + self._bounds.statement)
        manager = ConnectionManager(
            "user=soak dbname=postgres application_name=soak-visitor",
            hosts=self._company.addresses,
            min_size=1,
            max_size=2,
            timeout=limit,
            stall_timeout=1.0,
            close_timeout=limit,
        )
        await manager.open()
        try:
            if rng.random() < 0.7:
                async with manager.connection() as conn:
                    await conn.execute("select 1")
            else:
                await asyncio.sleep(rng.uniform(0, 0.3))
        finally:
            operation.at("close of a visitor", limit)
            await manager.close()


async def count_events(company: Company) -> None:
    """Count the manager's events by their kind until it is closed."""
    began = monotonic()
    async for event in company.manager.events():
        company.journal.counts[type(event).__name__] += 1
        company.journal.note(f"event {monotonic() - began:.2f}: {event.to_dict()}")
