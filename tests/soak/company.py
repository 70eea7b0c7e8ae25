"""Who uses the manager: tasks that repeat one act each, may be paused together, and end together.

What an act does is in `actors` and `keepers`; here is what all have in common.
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
    from soak.hearing import Hearing
    from soak.journal import Journal
    from soak.ledger import Ledger
    from soak.watch import Bounds, Operation, Watch


def allowed(error: BaseException) -> bool:
    """Return whether a caller may meet this error while servers and networks fail.

    Not a cancelled query: nobody cancelled this caller's. Not a closed pool: nobody closed it.
    """
    if isinstance(error, QueryCanceled | psycopg_pool.PoolClosed):
        return False
    return isinstance(error, psycopg.OperationalError | ReadOnlySqlTransaction)


@dataclass
class Company:
    """The tasks, and what they share."""

    seed: int
    manager: ConnectionManager  # of the primary
    aside: ConnectionManager  # of a standby, where there is one
    addresses: list[str]
    bounds: Bounds
    ledger: Ledger
    watch: Watch
    journal: Journal
    hearing: Hearing
    close_returns: bool
    wrote: dict[str, float] = field(default_factory=dict)  # writer: when its newest good one began
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)
    _gate: asyncio.Event = field(default_factory=asyncio.Event)
    _ending: bool = False

    @property
    def managers(self) -> tuple[tuple[ConnectionManager, str], ...]:
        """Return the managers that live as long as the run, with the names of their sessions."""
        return (self.manager, "soak"), (self.aside, "soak-aside")

    def employ(
        self,
        name: str,
        act: Callable[[Operation, random.Random], Awaitable[None]],
        pause: float,
    ) -> None:
        """Begin to repeat an act, with pauses of about *pause* seconds."""
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
                except Exception as error:  # noqa: BLE001  whatever it is, it is judged here
                    self._judge(name, operation, error)
            await asyncio.sleep(rng.uniform(0, 2 * pause))
            await self._gate.wait()

    def _judge(self, name: str, operation: Operation, error: Exception) -> None:
        self.journal.failed(error)
        if not allowed(error):
            self.journal.violated(
                "exception", f"{name}: {operation.stage}: {type(error).__name__}: {error}"
            )

    # -- pausing and ending --------------------------------------------------------------------

    async def pause(self, limit: float) -> bool:
        """Begin nothing new; return whether all that is under way ended within *limit* seconds."""
        self._gate.clear()
        deadline = monotonic() + limit
        while self.watch.active:
            if monotonic() > deadline:
                return False
            await asyncio.sleep(0.01)
        return True

    def resume(self) -> None:
        """Go on."""
        self._gate.set()

    async def end(self, limit: float) -> None:
        """End all tasks, each after what it is at; those that don't are told of."""
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
        """Wait until each writer has written something that began after *since*.

        Return the seconds that took, or None when it took longer than *limit*.
        """
        while min(self.wrote.values(), default=0.0) <= since:
            if monotonic() > since + limit:
                return None
            await asyncio.sleep(0.01)
        return monotonic() - since
