"""Those who use connections: writers, readers, holders, and those who are cut short."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING

import anyio

from soak.ledger import EXISTS, INSERT, Row

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from pgmoor import ManagedConnection
    from soak.company import Company
    from soak.watch import Operation

    At = Callable[[str, float], None]


def cast(company: Company) -> None:
    """Begin with all of them."""
    for number in range(6):
        Writer(company, f"writer-{number}")
    for number in range(3):
        company.employ(f"reader-{number}", Reader(company).act, 0.03)
    for number in range(2):
        company.employ(f"canceller-{number}", Canceller(company, f"canceller-{number}").act, 0.02)
        company.employ(f"limiter-{number}", Limiter(company, f"limiter-{number}").act, 0.02)
    company.employ("holder-0", Holder(company, "holder-0").act, 0.5)
    company.employ("taker-0", Taker(company).act, 0.05)
    company.employ("closer-0", Closer(company).act, 0.2)


class Scribe:
    """Knows the ways in which a program writes a row."""

    def __init__(self, company: Company, name: str) -> None:
        self.company = company
        self.name = name
        self.manager = company.manager
        self.bounds = company.bounds

    async def write(self, at: At, rng: random.Random, timeout: float | None = None) -> None:
        """Write one row, and tell the ledger what came of it."""
        way = rng.choice([self._by_block, self._by_block, self._by_transaction, self._by_hand])
        at("checkout", self.bounds.timeout if timeout is None else timeout)
        row = await way(at, timeout)
        self.company.ledger.acknowledged(row)

    async def _insert(self, at: At, conn: ManagedConnection) -> Row:
        at("statement", self.bounds.commit)  # and the return, when it fails
        row = self.company.ledger.begin(self.name)
        await conn.execute(INSERT, [row.key])
        at("commit", self.bounds.commit)
        row.committing(conn.info.port)
        return row

    async def _by_block(self, at: At, timeout: float | None) -> Row:
        async with self.manager.connection(timeout) as conn:
            return await self._insert(at, conn)

    async def _by_transaction(self, at: At, timeout: float | None) -> Row:
        async with self.manager.connection(timeout) as conn:
            at("begin", self.bounds.commit)
            async with conn.transaction():
                return await self._insert(at, conn)

    async def _by_hand(self, at: At, timeout: float | None) -> Row:
        conn = await self.manager.getconn(timeout)
        try:
            row = await self._insert(at, conn)
            await conn.commit()
        finally:
            await self.manager.putconn(conn)
        return row


class Writer(Scribe):
    """Writes; the traffic that has to flow again is that of all writers."""

    def __init__(self, company: Company, name: str) -> None:
        super().__init__(company, name)
        company.wrote[name] = 0.0
        company.employ(name, self._act, 0.02)

    async def _act(self, operation: Operation, rng: random.Random) -> None:
        began = monotonic()
        timeout = rng.choice([None, None, rng.uniform(0.2, 2.0)])
        await self.write(operation.at, rng, timeout)
        self.company.wrote[self.name] = began


class Reader:
    """Looks for rows that were acknowledged before: a stale server would not have them."""

    def __init__(self, company: Company) -> None:
        self._company = company

    async def act(self, operation: Operation, rng: random.Random) -> None:
        company = self._company
        known = sorted(company.ledger.newest.values())
        key = rng.choice(known) if known else ""
        operation.at("checkout", company.bounds.timeout)
        async with company.manager.connection() as conn:
            asked_at = monotonic()
            operation.at("statement", company.bounds.commit)
            row = await (await conn.execute(EXISTS, [key])).fetchone()
            operation.at("commit", company.bounds.commit)
            if known and row != (True,) and company.hearing.settled(asked_at):
                port = conn.info.port
                company.journal.violated("stale read", f"{key} was not found at port {port}")


class Holder(Scribe):
    """Keeps a connection for long, idle or busy, before it writes."""

    async def act(self, operation: Operation, rng: random.Random) -> None:
        seconds = rng.uniform(0.1, 1.5)
        operation.at("checkout", self.bounds.timeout)
        async with self.manager.connection() as conn:
            operation.at("hold", self.bounds.commit + seconds)
            if rng.random() < 0.5:
                await conn.execute("select pg_sleep(%s)", [seconds])
            else:
                await asyncio.sleep(seconds)
            row = await self._insert(operation.at, conn)
        self.company.ledger.acknowledged(row)


class Taker:
    """Uses `getconn()` and `putconn()`, and may give back what is in a transaction."""

    def __init__(self, company: Company) -> None:
        self._company = company

    async def act(self, operation: Operation, rng: random.Random) -> None:
        manager, bounds = self._company.manager, self._company.bounds
        operation.at("checkout", bounds.timeout)
        conn = await manager.getconn()
        operation.at("statement", bounds.commit)
        try:
            await conn.execute("select 1")
            if rng.random() < 0.5:
                await conn.rollback()
        finally:
            operation.at("give back", bounds.give_back)
            await manager.putconn(conn)


class Closer:
    """Closes what it borrowed."""

    def __init__(self, company: Company) -> None:
        self._company = company

    async def act(self, operation: Operation, rng: random.Random) -> None:
        manager, bounds = self._company.manager, self._company.bounds
        operation.at("checkout", bounds.timeout)
        conn = await manager.getconn()
        operation.at("close", bounds.give_back)
        if rng.random() < 0.5:
            await asyncio.sleep(rng.uniform(0, 0.1))
        await conn.close()
        if not self._company.close_returns:
            await manager.putconn(conn)


class Canceller(Scribe):
    """Has a task of its own cancelled at any of its awaits."""

    async def act(self, operation: Operation, rng: random.Random) -> None:
        operation.at("work that is cancelled", self.bounds.timeout + 3 * self.bounds.commit)
        task = asyncio.create_task(self._work(rng), name=f"{self.name}-victim")
        delay = rng.choice([rng.uniform(0, 0.01), rng.uniform(0, 0.05), rng.uniform(0, 2)])
        done, _ = await asyncio.wait({task}, timeout=delay)
        if done:
            task.result()
            return
        task.cancel()
        operation.at("cancellation", self.bounds.cancel + self.bounds.give_back)
        await asyncio.wait({task})
        self.company.journal.counts["cancelled"] += 1
        if not task.cancelled():
            self.company.journal.violated("swallowed", f"{self.name}: {task.exception()!r}")

    async def _work(self, rng: random.Random) -> None:
        if rng.random() < 0.3:
            async with self.manager.connection() as conn:
                await conn.execute("select pg_sleep(%s)", [rng.uniform(0, 1)])
        else:
            await self.write(lambda *_: None, rng)


class Limiter(Canceller):
    """Puts a limit of asyncio or anyio around its work."""

    async def act(self, operation: Operation, rng: random.Random) -> None:
        limit = rng.choice([rng.uniform(0, 0.02), rng.uniform(0, 0.3), rng.uniform(0, 2)])
        operation.at("limited", limit + self.bounds.cancel + self.bounds.give_back)
        try:
            if rng.random() < 0.5:
                with anyio.fail_after(limit):
                    await self._work(rng)
                return
            async with asyncio.timeout(limit) as scope:
                await self._work(rng)
        except TimeoutError:
            self.company.journal.counts["timed out"] += 1
        else:
            if scope.expired():
                self.company.journal.violated("swallowed", f"{self.name}: a time-out")
