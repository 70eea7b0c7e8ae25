"""A shop that takes orders: the application under test in test_shop.py."""

from __future__ import annotations

import asyncio
import uuid
from time import monotonic
from typing import TYPE_CHECKING

import psycopg

if TYPE_CHECKING:
    from pgmoor import ConnectionManager

# The second comes from a server that has just become read-only.
LOST = (psycopg.OperationalError, psycopg.errors.ReadOnlySqlTransaction)


class SoldOutError(Exception):
    """No piece of the article is left."""


class Shop:
    """Sells articles from stock."""

    def __init__(self, manager: ConnectionManager) -> None:
        self.manager = manager

    async def create(self) -> None:
        async with self.manager.connection() as conn:
            await conn.execute("create table stock (article text primary key, pieces int)")
            await conn.execute("create table orders (key uuid primary key, article text)")

    async def receive(self, article: str, pieces: int) -> None:
        async with self.manager.connection() as conn:
            await conn.execute(
                "insert into stock values (%s, %s) on conflict (article)"
                " do update set pieces = stock.pieces + excluded.pieces",
                [article, pieces],
            )

    async def order(self, article: str, key: uuid.UUID | None = None, patience: float = 10) -> None:
        """Sell one piece for each key, however often the connection is lost."""
        key = key or uuid.uuid4()
        deadline = monotonic() + patience
        while True:
            try:
                await self._sell(article, key)
            except LOST:
                if monotonic() > deadline:
                    raise
                await asyncio.sleep(0.05)
            else:
                return

    async def _sell(self, article: str, key: uuid.UUID) -> None:
        async with self.manager.connection(timeout=5) as conn:
            new = await conn.execute(
                "insert into orders values (%s, %s) on conflict do nothing", [key, article]
            )
            if not new.rowcount:
                return  # the first try was committed, but its answer was lost
            taken = await conn.execute(
                "update stock set pieces = pieces - 1 where article = %s and pieces > 0", [article]
            )
            if not taken.rowcount:
                raise SoldOutError(article)

    async def left(self, article: str) -> int:
        async with self.manager.connection() as conn:
            cursor = await conn.execute("select pieces from stock where article = %s", [article])
            row = await cursor.fetchone()
        return row[0] if row else 0
