"""Tasks that append to lists with `run()`, once each; their history is judged at the end."""

from __future__ import annotations

import itertools
from time import monotonic
from typing import TYPE_CHECKING, Any

import psycopg

from pgmoor import RetrySafety, retry_safety
from pgmoor.testing import History
from pgmoor.testing.check import check, load

if TYPE_CHECKING:
    import random
    from pathlib import Path

    from soak.users import Users
    from soak.watch import Operation

SCHEMA = "create table soak_lists (key int primary key, elements int[])"
APPEND = (
    "insert into soak_lists values (%s, array[%s]) on conflict (key)"
    " do update set elements = soak_lists.elements || excluded.elements returning elements"
)
ELEMENTS = 50  # of a list, about


class Lists:
    """Appends, and their history."""

    def __init__(self, users: Users, path: Path) -> None:
        self.path = path
        self._users = users
        self._history = History(path)
        self._elements = itertools.count()
        self._processes = itertools.count()

    def start_all(self) -> None:
        """Start all of these tasks."""
        for number in range(3):
            self._users.start(f"appender-{number}", Appender(self).act, 0.02)

    async def append(self, process: int, operation: Operation) -> bool:
        """Append an element; return whether its outcome is known."""
        element = next(self._elements)
        key = element // ELEMENTS
        asked = [("append", key, element), ("r", key, None)]
        self._history.invoke(process, asked)
        ended = False
        began = monotonic()
        try:
            bounds = self._users.bounds
            operation.at("run", bounds.timeout + 3 * bounds.commit)
            limit = bounds.timeout
            run = self._users.manager.run
            there = await run(_append, key, element, key=True, timeout=limit)
            if not self._users.tolerance.doubts(began):
                self._history.ok(process, [("append", key, element), ("r", key, there)])
                ended = True
        except psycopg.Error as error:
            if retry_safety(error) is not RetrySafety.UNKNOWN:
                self._history.fail(process, asked)
                ended = True
            raise
        finally:
            if not ended:
                self._history.info(process, asked)
        return ended

    def new_process(self) -> int:
        """Return the number of a process that has not begun anything."""
        return next(self._processes)

    async def judge(self, connect: Any) -> None:
        """Read all lists from the primary, and report what must not have happened."""
        process = self.new_process()
        for key, elements in await connect("select key, elements from soak_lists order by key"):
            self._history.invoke(process, [("r", key, None)])
            self._history.ok(process, [("r", key, elements)])
        self._history.__exit__()
        with self.path.open(encoding="utf-8") as lines:
            verdict = check(load(lines))
        journal = self._users.journal
        journal.counts["appended once"] += verdict.committed
        journal.counts["appends undecided"] += verdict.undecided
        for anomaly in verdict.anomalies:
            journal.violated("history", str(anomaly))


async def _append(conn: Any, key: int, element: int) -> list[int]:
    (elements,) = await (await conn.execute(APPEND, [key, element])).fetchone()
    return list(elements)


class Appender:
    """One process: after an operation whose outcome is unknown it is another one."""

    def __init__(self, lists: Lists) -> None:
        self._lists = lists
        self._process = lists.new_process()

    async def act(self, operation: Operation, rng: random.Random) -> None:
        process, self._process = self._process, -1
        try:
            if await self._lists.append(process, operation):
                self._process = process
        finally:
            if self._process < 0:
                self._process = self._lists.new_process()
