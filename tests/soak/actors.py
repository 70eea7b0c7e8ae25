"""The tasks that use connections: writers, readers, holders, and tasks that are cancelled."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING, Any

import anyio

from soak.ledger import EXISTS, INSERT, Row

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from psycopg import AsyncConnection

    from pgmoor import ConnectionManager
    from soak.users import Users
    from soak.watch import Operation

    At = Callable[[str, float], None]


def start_all(users: Users) -> None:
    """Start all of these tasks."""
    for number in range(6):
        Writer(users, f"writer-{number}")
    if users.pooled:
        for number in range(2):
            Writer(users, f"pooled-{number}", users.pooled)
    for number in range(3):
        users.start(f"reader-{number}", Reader(users).act, 0.03)
    for number in range(2):
        users.start(f"canceller-{number}", Canceller(users, f"canceller-{number}").act, 0.02)
        users.start(f"limiter-{number}", Limiter(users, f"limiter-{number}").act, 0.02)
    users.start("holder-0", Holder(users, "holder-0").act, 0.5)
    users.start("taker-0", Taker(users).act, 0.05)
    users.start("closer-0", Closer(users).act, 0.2)


class RowWriter:
    """Writes rows in each of the ways that programs do."""

    def __init__(self, users: Users, name: str, manager: ConnectionManager | None = None) -> None:
        self.users = users
        self.name = name
        self.manager = manager or users.manager
        self.bounds = users.bounds

    async def write(self, at: At, rng: random.Random, timeout: float | None = None) -> None:
        """Write one row, and record in the ledger that it was acknowledged."""
        way = rng.choice([self._by_block, self._by_block, self._by_transaction, self._by_hand])
        at("checkout", self.bounds.timeout if timeout is None else timeout)
        row = await way(at, timeout)
        self.users.ledger.acknowledged(row)

    async def _insert(self, at: At, conn: AsyncConnection[Any]) -> Row:
        at("statement", self.bounds.commit)  # includes the return, if it fails
        row = self.users.ledger.begin(self.name)
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


class Writer(RowWriter):
    """Writes rows; traffic flows when every writer writes."""

    def __init__(self, users: Users, name: str, manager: ConnectionManager | None = None) -> None:
        super().__init__(users, name, manager)
        users.wrote[name] = 0.0
        users.start(name, self._act, 0.02)

    async def _act(self, operation: Operation, rng: random.Random) -> None:
        began = monotonic()
        timeout = rng.choice([None, None, rng.uniform(0.2, 2.0)])
        await self.write(operation.at, rng, timeout)
        self.users.wrote[self.name] = began


class Reader:
    """Looks up rows that were acknowledged: a stale server would lack them."""

    def __init__(self, users: Users) -> None:
        self._users = users

    async def act(self, operation: Operation, rng: random.Random) -> None:
        users = self._users
        known = sorted(users.ledger.newest.values())
        key = rng.choice(known) if known else ""
        operation.at("checkout", users.bounds.timeout)
        async with users.manager.connection() as conn:
            sent_at = monotonic()
            operation.at("statement", users.bounds.commit)
            row = await (await conn.execute(EXISTS, [key])).fetchone()
            operation.at("commit", users.bounds.commit)
            if known and row != (True,) and users.promotions.known(sent_at):
                port = conn.info.port
                users.journal.violated("stale read", f"{key} was not found at port {port}")


class Holder(RowWriter):
    """Holds a connection for long, idle or busy, before it writes."""

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
        self.users.ledger.acknowledged(row)


class Borrower:
    """Takes a connection with `getconn()`."""

    def __init__(self, users: Users) -> None:
        self.users = users
        self.manager = users.manager
        self.bounds = users.bounds

    async def borrow(self, operation: Operation) -> AsyncConnection[Any]:
        operation.at("checkout", self.bounds.timeout)
        return await self.manager.getconn()


class Taker(Borrower):
    """Gives connections back with `putconn()`, some of them in a transaction."""

    async def act(self, operation: Operation, rng: random.Random) -> None:
        conn = await self.borrow(operation)
        operation.at("statement", self.bounds.commit)
        try:
            await conn.execute("select 1")
            if rng.random() < 0.5:
                await conn.rollback()
        finally:
            operation.at("give back", self.bounds.give_back)
            await self.manager.putconn(conn)


class Closer(Borrower):
    """Closes the connections that it borrows."""

    async def act(self, operation: Operation, rng: random.Random) -> None:
        conn = await self.borrow(operation)
        operation.at("close", self.bounds.give_back)
        if rng.random() < 0.5:
            await asyncio.sleep(rng.uniform(0, 0.1))
        await conn.close()
        if not self.users.close_returns:
            await self.manager.putconn(conn)


class Canceller(RowWriter):
    """Cancels a task of its own at any of its awaits."""

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
        self.users.journal.counts["cancelled"] += 1
        if not task.cancelled():
            self.users.journal.violated("swallowed", f"{self.name}: {task.exception()!r}")

    async def _work(self, rng: random.Random) -> None:
        if rng.random() < 0.3:
            async with self.manager.connection() as conn:
                await conn.execute("select pg_sleep(%s)", [rng.uniform(0, 1)])
        else:
            await self.write(lambda *_: None, rng)


class Limiter(Canceller):
    """Limits its work with a timeout of asyncio or anyio."""

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
            self.users.journal.counts["timed out"] += 1
        else:
            if scope.expired():
                self.users.journal.violated("swallowed", f"{self.name}: a timeout")
