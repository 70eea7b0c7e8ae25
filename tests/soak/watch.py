"""Which step each operation is in, how long that may take, and whether it took longer.

The bounds follow from the manager's settings. Some time does not count: while a statement can't end
for a reason that no client sees (a commit that waits for a standby), and while this process itself
was held up.
"""

from __future__ import annotations

import asyncio
import traceback
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import monotonic
from types import CoroutineType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SLACK = 1.5  # seconds; starting servers keep the machine busy
NEVER = float("inf")


@dataclass(frozen=True)
class Bounds:
    """How long the steps of an operation may take, in seconds."""

    timeout: float
    statement: float  # until it ends, or its host is left for being silent
    give_back: float  # with a rollback
    cancel: float  # until the server confirms a cancelled query, or the connection is cut
    close: float
    probes: float  # until all hosts have been probed

    @classmethod
    def of(cls, values: dict[str, Any]) -> Bounds:
        """Return the bounds that follow from a manager's settings."""
        noticed = values["health_interval"] + 2 * values["health_timeout"]
        return cls(
            timeout=values["timeout"],
            # A host that is silent alone is kept for `stall_timeout`; it may have answered once
            # more before it was noticed.
            statement=noticed + values["stall_timeout"],
            give_back=values["cancel_timeout"],
            cancel=values["cancel_timeout"],
            # Pools, background tasks and listeners share it.
            close=values["close_timeout"],
            probes=values["health_timeout"],
        )

    @property
    def commit(self) -> float:
        """The bound for COMMIT and the return of the connection."""
        return self.statement + self.give_back


@dataclass
class Excuse:
    """A period that does not count."""

    why: str
    since: float
    until: float = NEVER

    def overlap(self, since: float, until: float) -> float:
        """Return how many seconds of another period fall into it."""
        return max(0.0, min(until, self.until) - max(since, self.since))


@dataclass(eq=False)
class Operation:
    """One operation of an actor, and the step that it is in."""

    watch: Watch
    actor: str
    step: str = ""
    bound: float = NEVER
    since: float = 0.0
    overdue: bool = False
    task: asyncio.Task[Any] | None = field(default_factory=asyncio.current_task)

    def at(self, step: str, bound: float) -> None:
        """Begin the next step, which may take *bound* seconds."""
        self.watch.ended(self)
        self.step, self.bound, self.since = step, bound, monotonic()
        self.overdue = False


class Watch:
    """All operations that are under way."""

    def __init__(self, violated: Callable[[str, str], None]) -> None:
        self.active: set[Operation] = set()
        self.count: Counter[str] = Counter()
        self.worst: dict[str, float] = {}
        self.worst_lag = 0.0
        self._excuses: list[Excuse] = []
        self._violated = violated

    @contextmanager
    def operation(self, actor: str) -> Iterator[Operation]:
        """Watch an operation, from its first step on."""
        operation = Operation(self, actor)
        self.active.add(operation)
        self.count[actor.partition("-")[0]] += 1
        try:
            yield operation
        finally:
            self.ended(operation)
            self.active.discard(operation)

    @contextmanager
    def excused(self, why: str) -> Iterator[None]:
        """Don't count the time of this block."""
        excuse = Excuse(why, monotonic())
        self._excuses.append(excuse)
        try:
            yield
        finally:
            excuse.until = monotonic()

    def ended(self, operation: Operation) -> None:
        """Check the step of an operation that has just ended."""
        if operation.step:
            took = self._counted(operation)
            self.worst[operation.step] = max(took, self.worst.get(operation.step, 0.0))
            self._check(operation, took)

    async def run(self) -> None:
        """Check what is under way, and how late this task itself runs, without end."""
        while True:
            began = monotonic()
            await asyncio.sleep(0.05)
            late = monotonic() - began - 0.05
            self.worst_lag = max(self.worst_lag, late)
            if late > 0.1:
                self._excuses.append(Excuse("the loop was late", began, monotonic()))
            for operation in tuple(self.active):
                self._check(operation, self._counted(operation))

    def _counted(self, operation: Operation) -> float:
        now = monotonic()
        # The newest are at the end; older ones can't matter.
        excused = sum(excuse.overlap(operation.since, now) for excuse in self._excuses[-50:])
        return max(now - operation.since - excused, 0.0)

    def _check(self, operation: Operation, took: float) -> None:
        if operation.overdue or not operation.step or took <= operation.bound + SLACK:
            return
        operation.overdue = True
        lines = "".join(where(operation.task)) if operation.task else ""
        self._violated(
            "overdue",
            f"{operation.actor}: {operation.step} takes {took:.2f} s,"
            f" allowed are {operation.bound:.2f} s and {SLACK} s of slack\n{lines}",
        )


def where(task: asyncio.Task[Any]) -> list[str]:
    """Return where a task waits: a line for each coroutine that awaits another."""
    lines = []
    awaited: Any = task.get_coro()
    while isinstance(awaited, CoroutineType) and awaited.cr_frame is not None:
        lines += traceback.format_stack(awaited.cr_frame, limit=1)
        awaited = awaited.cr_await
    return lines
