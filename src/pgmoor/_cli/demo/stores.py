"""How the demo's writers reach the database: through pgmoor, or through another library."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import psycopg

from .ledger import TABLE

if TYPE_CHECKING:
    from psycopg import AsyncConnection

    from pgmoor import ConnectionManager
    from pgmoor._cli.peers import Contestant

Row = tuple[int, int, int]  # id, writer, sequence


class Store(Protocol):
    """Inserts rows and finds them again, each in a transaction of its own."""

    errors: tuple[type[Exception], ...]
    """What an operation may raise when it fails."""

    async def insert(self, row: Row) -> None: ...

    async def is_there(self, row: int) -> bool: ...


class ThroughPgmoor:
    """With a connection for each transaction; *by_run*: with `run()` and a key for each."""

    errors: tuple[type[Exception], ...] = (psycopg.Error,)

    def __init__(self, manager: ConnectionManager, *, by_run: bool = False) -> None:
        self._manager = manager
        self._by_run = by_run

    async def insert(self, row: Row) -> None:
        if self._by_run:
            await self._manager.run(_execute, row, key=True)
            return
        async with self._manager.connection() as conn:
            await _execute(conn, row)

    async def is_there(self, row: int) -> bool:
        async with self._manager.connection() as conn:
            cursor = await conn.execute(f"SELECT FROM {TABLE} WHERE id = %s", (row,))
            return await cursor.fetchone() is not None


async def _execute(conn: AsyncConnection[Any], row: Row) -> None:
    await conn.execute(f"INSERT INTO {TABLE} VALUES (%s, %s, %s)", row)  # noqa: S608


class ThroughOther:
    """Through a library that may raise anything; into a table of its own."""

    # asyncio's own CancelledError is no Exception.
    errors: tuple[type[Exception], ...] = (Exception,)

    def __init__(self, library: Contestant, table: str) -> None:
        self._library = library
        self._table = table

    async def insert(self, row: Row) -> None:
        await self._library.operation(f"INSERT INTO {self._table} VALUES {row}")()  # noqa: S608

    async def is_there(self, row: int) -> bool:
        query = f"SELECT id FROM {self._table} WHERE id = {row}"  # noqa: S608
        return bool(await self._library.fetch(query))
