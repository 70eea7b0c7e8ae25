"""Ten thousand checkouts that are cancelled anywhere lose no connection and no place."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from support import hold, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgmoor import ConnectionManager
    from pgmoor.testing import Cluster

CHECKOUTS = 10_000
AT_ONCE = 40  # callers, of which most wait
SESSIONS = "select count(*) = %d from pg_stat_activity where application_name = 'cancelled'"
KEPT, EXTRA = 4, 2  # `max_size`, `max_overflow`


async def turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


class Callers:
    """Tasks that each check out once, and are cancelled after a random number of turns."""

    def __init__(self, manager: ConnectionManager, seed: int) -> None:
        self.outcomes: Counter[str] = Counter()
        self._manager = manager
        self._rng = random.Random(seed)
        self._left = CHECKOUTS

    async def run(self) -> None:
        await asyncio.gather(*(self._one_after_another() for _ in range(AT_ONCE)))

    async def _one_after_another(self) -> None:
        while self._left > 0:
            self._left -= 1
            caller = asyncio.create_task(self._use(self._rng.random()))
            await turns(self._rng.choice([0, 1, 2, 3, 5, 8, 20, 60]))
            caller.cancel()
            with suppress(asyncio.CancelledError):
                await caller
            self.outcomes["cancelled" if caller.cancelled() else "done"] += 1

    async def _use(self, kind: float) -> None:
        if kind < 0.5:
            async with self._manager.connection():
                await turns(self._rng.randint(0, 3))
        elif kind < 0.9:
            conn = await self._manager.getconn()
            try:
                await turns(self._rng.randint(0, 3))
            finally:
                await self._manager.putconn(conn)
        else:  # a statement is cancelled, or the rollback that follows it
            async with self._manager.connection() as conn:
                await conn.execute("select 1")


@pytest.mark.parametrize("least", [1, KEPT], ids=["a pool that grows", "a full pool"])
async def test_ten_thousand_cancelled_checkouts_lose_no_connection(
    least: int, alone: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(
        *alone,
        min_size=least,
        max_size=KEPT,
        max_overflow=EXTRA,
        kwargs={"application_name": "cancelled"},
    )
    await manager.wait()
    callers = Callers(manager, seed=11)
    await callers.run()

    assert callers.outcomes["cancelled"] > CHECKOUTS // 4, callers.outcomes
    assert callers.outcomes["done"] > CHECKOUTS // 100, callers.outcomes
    await until(lambda: manager.snapshot().pool.used == 0)
    conns = await hold(manager, KEPT + EXTRA)
    for conn in conns:
        await conn.execute("select 1")
    assert len({conn.info.backend_pid for conn in conns}) == KEPT + EXTRA
    await alone[0].wait_for(SESSIONS % (KEPT + EXTRA + 1))  # and the probe's
    for conn in conns:
        await manager.putconn(conn)
    await until(lambda: manager.snapshot().pool.size == KEPT)
    pool = manager.snapshot().pool
    assert (pool.used, pool.waiting, pool.idle) == (0, 0, KEPT)
    await alone[0].wait_for(SESSIONS % (KEPT + 1))
