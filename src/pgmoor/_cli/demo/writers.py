"""The demo's workload: tasks that INSERT, commit and pause, and record each result in the ledger.

After an error they look for the row, and repeat the INSERT only if it is not there.
"""

from __future__ import annotations

import asyncio
import random
from itertools import count
from time import monotonic
from typing import TYPE_CHECKING, Any, Self

import psycopg

if TYPE_CHECKING:
    from psycopg import AsyncConnection

    from pgmoor import ConnectionManager

    from .ledger import Ledger

PAUSE = 0.02  # seconds between two operations of a writer
FINISH_TIMEOUT = 3.0  # seconds for the writers to finish their last operations

INSERT = "INSERT INTO pgmoor_demo (id, writer, sequence) VALUES (%s, %s, %s)"
LOOK_UP = "SELECT EXISTS (SELECT FROM pgmoor_demo WHERE id = %s)"


async def _execute(conn: AsyncConnection[Any], values: tuple[int, ...]) -> None:
    await conn.execute(INSERT, values)


class Writers:
    """Tasks that write through one manager; `async with` runs them."""

    def __init__(
        self, manager: ConnectionManager[Any], ledger: Ledger, number: int, *, by_run: bool = False
    ) -> None:
        self._by_run = by_run
        self._manager = manager
        self._ledger = ledger
        self._number = number
        self._stopping = False
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        self._tasks = [
            asyncio.create_task(self._write(writer), name=f"writer-{writer}")
            for writer in range(self._number)
        ]
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)

    async def finish(self) -> None:
        """Let each writer finish its operation; raise the exception that ended one early."""
        self._stopping = True
        done, _ = await asyncio.wait(self._tasks, timeout=FINISH_TIMEOUT)
        for task in done:
            task.result()

    async def _write(self, writer: int) -> None:
        for sequence in count(1):
            if self._stopping:
                return
            await self._write_row(writer, sequence)
            await self._pause()

    async def _write_row(self, writer: int, sequence: int) -> None:
        """Write one row; after an error, repeat only if the row is not there."""
        row = writer * 1_000_000_000 + sequence
        while not self._stopping:
            begun = monotonic()
            try:
                await self._insert(row, writer, sequence)
            except psycopg.Error as error:
                self._ledger.fail(writer, error)
                await self._pause()
                if not await self._is_written(writer, row):
                    continue
            self._ledger.acknowledge(row, writer, begun)
            return

    async def _insert(self, *values: int) -> None:
        if self._by_run:
            await self._manager.run(_execute, values, key=True)
            return
        async with self._manager.connection() as conn:
            await _execute(conn, values)

    async def _is_written(self, writer: int, row: int) -> bool:
        while not self._stopping:
            try:
                async with self._manager.connection() as conn:
                    cursor = await conn.execute(LOOK_UP, (row,))
                    found = await cursor.fetchone()
            except psycopg.Error as error:
                self._ledger.fail(writer, error)
                await self._pause()
            else:
                return bool(found and found[0])
        return False

    async def _pause(self) -> None:
        # Jitter, or all writers would go in step after each fault.
        await asyncio.sleep(PAUSE * random.uniform(0.8, 1.2))
