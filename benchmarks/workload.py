"""What the application does while a fault happens, and when all its tasks work again.

Sixteen tasks each take a connection, insert a row, commit, and pause 20 ms. They set no timeout,
and go on after any exception. Each row has a number of its own, so that afterwards its absence or
its double is seen.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import Counter
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

TASKS = 16
PAUSE = 0.02  # seconds, on average
SLOW = 0.5  # seconds; a longer operation was delayed by the fault
CALM = 2.0  # seconds without an error or a delay: all tasks work
TABLE = (
    "CREATE TABLE written (number int NOT NULL, at timestamptz NOT NULL DEFAULT clock_timestamp())"
)


@dataclass(frozen=True)
class Done:
    """One operation of one task; instants of `monotonic()`."""

    began: float
    ended: float
    error: str | None


class Workload:
    """The tasks, and the result of each of their operations.

    *operation* returns a function that runs a statement in a transaction.
    """

    def __init__(self, operation: Callable[[str], Callable[[], Awaitable[object]]]) -> None:
        self._operation = operation
        self.done: list[list[Done]] = [[] for _ in range(TASKS)]
        self._under_way: list[float | None] = [None] * TASKS
        self._tasks: list[asyncio.Task[None]] = []
        self._stopping = False
        self._numbers = itertools.count()
        self.acknowledged: set[int] = set()
        """The numbers of the rows whose operations ended without an error."""

    def start(self) -> None:
        self._tasks = [asyncio.create_task(self._work(number)) for number in range(TASKS)]

    async def stop(self, patience: float = 3.0) -> int:
        """Cancel all tasks; return how many do not end."""
        self._stopping = True
        for task in self._tasks:
            task.cancel()
        _, alive = await asyncio.wait(self._tasks, timeout=patience)
        return len(alive)

    async def _work(self, number: int) -> None:
        while not self._stopping:
            error = None
            row = next(self._numbers)
            operate = self._operation(f"INSERT INTO written (number) VALUES ({row})")
            began = self._under_way[number] = monotonic()
            try:
                await operate()
            except Exception as raised:  # noqa: BLE001 - the application goes on
                error = type(raised).__name__
            else:
                self.acknowledged.add(row)
            self._under_way[number] = None
            self.done[number].append(Done(began, monotonic(), error))
            # At random, or all would work and pause at the same time.
            await asyncio.sleep(PAUSE * random.uniform(0.5, 1.5))

    async def flow(self, limit: float) -> bool:
        """Return whether every task succeeds five times from now, within *limit* seconds."""
        began = monotonic()
        while monotonic() < began + limit:
            recent = ([d for d in done if d.began > began] for done in self.done)
            if all(sum(d.error is None for d in some) >= 5 for some in recent):
                return True
            await asyncio.sleep(0.02)
        return False

    async def recover(self, effective: float, deadline: float) -> float | None:
        """Return when all tasks worked again, once that has lasted for `CALM` seconds.

        Return None at *deadline* if it has not. *effective* is since when the fault affected all.
        """
        while monotonic() < deadline:
            instant = self._all_recovered(effective)
            if instant is not None and monotonic() - instant > CALM:
                return instant
            await asyncio.sleep(0.05)
        return None

    def _all_recovered(self, effective: float) -> float | None:
        ends = [self._recovered(number, effective) for number in range(TASKS)]
        known = [end for end in ends if end is not None]
        return max(known) if len(known) == TASKS else None

    def _recovered(self, number: int, since: float) -> float | None:
        """Return when a task had its first success after its last error or long wait."""
        began = self._under_way[number]
        if began is not None and monotonic() - began > SLOW:
            return None
        end: float | None = None
        for one in self.done[number]:
            if one.ended < since:
                continue
            if one.error is not None:
                end = None
            elif one.ended - one.began > SLOW or (end is None and one.began >= since):
                end = one.ended
        return end

    def errors(self, since: float) -> Counter[str]:
        """Return how often each exception was raised after *since*, by name."""
        return Counter(
            one.error for done in self.done for one in done if one.error and one.ended >= since
        )

    def rates(self, start: float, step: float) -> list[float]:
        """Return the successful operations per second, in steps of *step* seconds, until now."""
        counts = [0] * max(int((monotonic() - start) / step), 0)
        for one in (one for done in self.done for one in done if one.error is None):
            place = int((one.ended - start) // step)
            if 0 <= place < len(counts):
                counts[place] += 1
        return [count / step for count in counts]

    def hanging(self) -> int:
        """Return how many tasks have waited for longer than load explains."""
        now = monotonic()
        return sum(began is not None and now - began > SLOW for began in self._under_way)

    def written(self, since: float) -> int:
        """Return how many rows were acknowledged after *since*."""
        return sum(one.error is None and one.ended >= since for d in self.done for one in d)
