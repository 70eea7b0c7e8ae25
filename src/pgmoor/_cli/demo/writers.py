"""The demo's workload: tasks that INSERT, commit and pause, and record each result in the ledger.

After an error they look for the row, and repeat the INSERT only if it is not there.
"""

from __future__ import annotations

import asyncio
import random
from itertools import count
from time import monotonic
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .ledger import Ledger
    from .stores import Store

PAUSE = 0.02  # seconds between two operations of a writer
FINISH_TIMEOUT = 3.0  # seconds for the writers to finish their last operations
CANCEL_TIMEOUT = 3.0  # seconds for them to end once they are cancelled: a library may hang


class Writers:
    """Tasks that write through one store; `async with` runs them.

    *sequences* are the numbers of each writer's rows: those that follow others continue theirs.
    """

    def __init__(
        self, store: Store, ledger: Ledger, number: int, sequences: Sequence[Iterator[int]] = ()
    ) -> None:
        self._store = store
        self._ledger = ledger
        self._sequences = sequences or [count(1) for _ in range(number)]
        self._stopping = False
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        self._tasks = [
            asyncio.create_task(self._write(writer, sequence), name=f"writer-{writer}")
            for writer, sequence in enumerate(self._sequences)
        ]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stopping = True
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks, timeout=CANCEL_TIMEOUT)

    async def finish(self) -> None:
        """Let each writer finish its operation; raise the exception that ended one early."""
        self._stopping = True
        done, _ = await asyncio.wait(self._tasks, timeout=FINISH_TIMEOUT)
        for task in done:
            task.result()

    async def _write(self, writer: int, sequences: Iterator[int]) -> None:
        for sequence in sequences:
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
                await self._store.insert((row, writer, sequence))
            except self._store.errors as error:
                self._ledger.fail(writer, error)
                await self._pause()
                if not await self._is_written(writer, row):
                    continue
            self._ledger.acknowledge(row, writer, begun)
            return

    async def _is_written(self, writer: int, row: int) -> bool:
        while not self._stopping:
            try:
                return await self._store.is_there(row)
            except self._store.errors as error:
                self._ledger.fail(writer, error)
                await self._pause()
        return False

    async def _pause(self) -> None:
        # Jitter, or all writers would go in step after each fault.
        await asyncio.sleep(PAUSE * random.uniform(0.8, 1.2))
