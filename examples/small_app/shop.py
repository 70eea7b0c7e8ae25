"""A shop that takes orders: the application under test in test_shop.py."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from pgmoor import Retry

if TYPE_CHECKING:
    import psycopg

    from pgmoor import ConnectionManager


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
        retry = Retry(idempotent=True)  # `orders` tells what was sold
        await self.manager.run(sell, article, key, timeout=patience, retry=retry)

    async def left(self, article: str) -> int:
        async with self.manager.connection() as conn:
            cursor = await conn.execute("select pieces from stock where article = %s", [article])
            row = await cursor.fetchone()
        return row[0] if row else 0


async def sell(conn: psycopg.AsyncConnection[Any], article: str, key: uuid.UUID) -> None:
    new = await conn.execute(
        "insert into orders values (%s, %s) on conflict do nothing", [key, article]
    )
    if not new.rowcount:
        return  # an earlier attempt was committed, but its answer was lost
    taken = await conn.execute(
        "update stock set pieces = pieces - 1 where article = %s and pieces > 0", [article]
    )
    if not taken.rowcount:
        raise SoldOutError(article)
