"""All users of the manager: tasks that repeat one act each, and are paused and ended together.

The acts are in `actors` and `operators`.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, field
from time import monotonic
from typing import TYPE_CHECKING

import psycopg
import psycopg_pool
from psycopg.errors import QueryCanceled, ReadOnlySqlTransaction

from soak.watch import where

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from pgmoor import ConnectionManager
    from soak.journal import Journal
    from soak.ledger import Ledger
    from soak.promotions import Promotions
    from soak.tolerance import Tolerance
    from soak.watch import Bounds, Operation, Watch


def allowed(error: BaseException) -> bool:
    """Return whether a caller may get this error while servers and networks fail.

    Nobody cancels a caller's query on the server, and nobody closes its pool.
    """
    if isinstance(error, QueryCanceled | psycopg_pool.PoolClosed):
        return False
    return isinstance(error, psycopg.OperationalError | ReadOnlySqlTransaction)


@dataclass
class Users:
    """The tasks, and what they share."""

    seed: int
    manager: ConnectionManager  # uses the primary
    aside: ConnectionManager  # prefers a standby
    pooled: ConnectionManager | None  # uses the primary through a pooler
    addresses: list[str]
    bounds: Bounds
    ledger: Ledger
    watch: Watch
    journal: Journal
    promotions: Promotions
    tolerance: Tolerance
    close_returns: bool
    wrote: dict[str, float] = field(default_factory=dict)  # when each writer's newest row began
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)
    _gate: asyncio.Event = field(default_factory=asyncio.Event)
    _ending: bool = False

    @property
    def managers(self) -> tuple[tuple[ConnectionManager, str], ...]:
        """The managers that live as long as the run, with the names of their sessions."""
        return (self.manager, "soak"), (self.aside, "soak-aside")

    def start(
        self,
        name: str,
        act: Callable[[Operation, random.Random], Awaitable[None]],
        pause: float,
    ) -> None:
        """Repeat an act in a task of its own, with pauses of about *pause* seconds."""
        self._gate.set()
        self._tasks.append(asyncio.create_task(self._work(name, act, pause), name=name))

    async def _work(
        self,
        name: str,
        act: Callable[[Operation, random.Random], Awaitable[None]],
        pause: float,
    ) -> None:
        rng = random.Random(f"{self.seed}-{name}")
        while not self._ending:
            with self.watch.operation(name) as operation:
                try:
                    await act(operation, rng)
                except Exception as error:  # noqa: BLE001  each of them is checked
                    self._check(name, operation, error)
            await asyncio.sleep(rng.uniform(0, 2 * pause))
            while not self._gate.is_set():  # it may be closed again before this task runs
                await self._gate.wait()

    def _check(self, name: str, operation: Operation, error: Exception) -> None:
        self.journal.failed(error)
        if not allowed(error) and not self.tolerance.covers(error, operation.since):
            self.journal.violated(
                "exception", f"{name}: {operation.step}: {type(error).__name__}: {error}"
            )

    # -- pausing and ending --------------------------------------------------------------------

    async def pause(self, limit: float) -> bool:
        """Begin nothing new; return whether what is under way ends within *limit* seconds."""
        self._gate.clear()
        deadline = monotonic() + limit
        while self.watch.active:
            if monotonic() > deadline:
                return False
            await asyncio.sleep(0.01)
        return True

    def resume(self) -> None:
        """Continue after a pause."""
        self._gate.set()

    async def end(self, limit: float) -> None:
        """End all tasks, each after its present act; report those that don't end."""
        self._ending = True
        self._gate.set()
        _, late = await asyncio.wait(self._tasks, timeout=limit)
        for task in late:
            self.journal.violated("hung", f"{task.get_name()}\n{''.join(where(task))}")
            task.cancel()
        if late:
            await asyncio.wait(late, timeout=10)
        for task in self._tasks:
            if task.done() and not task.cancelled() and (error := task.exception()):
                self.journal.violated("harness", f"{task.get_name()}: {error!r}")

    # -- traffic -------------------------------------------------------------------------------

    async def flowing(self, since: float, limit: float) -> float | None:
        """Wait until each writer has written a row begun after *since*.

        Return how many seconds that took, or None if it took longer than *limit*.
        """
        while min(self.wrote.values(), default=0.0) <= since:
            if monotonic() > since + limit:
                return None
            await asyncio.sleep(0.01)
        return monotonic() - since
