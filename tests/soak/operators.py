"""The tasks that operate the manager (resize, drain, check, health), and short-lived managers."""

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
    from soak.users import Users
    from soak.watch import Operation

AT_ONCE = 0.5  # seconds for a call that waits for no server


def start_all(users: Users) -> None:
    """Start all of these tasks."""
    operator = Operator(users)
    users.start("resizer-0", operator.resize, 0.5)
    users.start("drainer-0", operator.drain, 1.5)
    users.start("checker-0", operator.check, 1.0)
    users.start("asker-0", operator.health, 0.3)
    users.start("waiter-0", operator.wait, 0.5)
    users.start("listener-0", operator.listen, 0.5)
    users.start("visitor-0", operator.visit, 0.5)
    users.start("aside-0", operator.read_aside, 0.05)
    users.start("aside-1", operator.read_aside, 0.05)


class Operator:
    """The acts: each makes a call or a few of the manager's public interface."""

    def __init__(self, users: Users) -> None:
        self._users = users
        self._manager = users.manager
        self._bounds = users.bounds

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

    async def health(self, operation: Operation, rng: random.Random) -> None:
        operation.at("health", self._bounds.probes)
        health = await self._manager.health(fresh=rng.random() < 0.5)
        json.dumps(health.to_dict())
        if not health.live:
            self._users.journal.violated("health", "the open manager is not live")
        stats = self._manager.pop_stats() if rng.random() < 0.1 else self._manager.get_stats()
        if bad := {name: value for name, value in stats.items() if value < 0}:
            self._users.journal.violated("statistics", str(bad))

    async def wait(self, operation: Operation, rng: random.Random) -> None:
        limit = rng.uniform(0.1, 3.0)
        operation.at("wait", limit)
        await (self._manager.wait if rng.random() < 0.5 else self._manager.wait_ready)(limit)

    async def listen(self, operation: Operation, rng: random.Random) -> None:
        """Subscribe for a while, with a slow callback."""

        async def callback(event: Event) -> None:
            await asyncio.sleep(rng.uniform(0, 0.5))

        operation.at("listen", 3.0)
        end = self._manager.subscribe(callback)
        await asyncio.sleep(rng.uniform(0, 2.0))
        end()

    async def read_aside(self, operation: Operation, rng: random.Random) -> None:
        """Read through the manager that prefers a standby."""
        operation.at("checkout", self._bounds.timeout)
        async with self._users.aside.connection() as conn:
            operation.at("statement", self._bounds.commit)
            await conn.execute("select count(*) from (select from soak limit 10) rows")
            operation.at("commit", self._bounds.commit)

    async def visit(self, operation: Operation, rng: random.Random) -> None:
        """Open another manager, use it or not, and close it in whatever state it is."""
        limit = rng.uniform(0.1, 1.0)
        operation.at("visit", 2 + self._bounds.statement)
        manager = ConnectionManager(
            "user=soak dbname=postgres application_name=soak-visitor",
            hosts=self._users.addresses,
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


async def count_events(users: Users) -> None:
    """Count the manager's events by kind until it is closed."""
    began = monotonic()
    async for event in users.manager.events():
        users.journal.counts[type(event).__name__] += 1
        users.journal.note(f"event {monotonic() - began:.2f}: {event.to_dict()}")
