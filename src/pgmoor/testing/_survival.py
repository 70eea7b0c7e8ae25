"""Runs a program's own work under faults, and tells what it saw of each."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from time import monotonic
from typing import TYPE_CHECKING

from ._faults import FAULTS, Fault, Stage

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence

    from ._cluster import Cluster
    from ._proxy import FaultProxy

LOOK = 0.005  # seconds between two looks at what the callers have done
ENDING = 5.0  # seconds for a cancelled call to end
COLUMNS = ("fault", "works again after", "succeeded", "failed", "longest call", "exceptions")


@dataclass
class Outcome:
    """What the callers saw of one fault; durations are in seconds."""

    fault: str
    recovered_after: float | None = None
    """From the fault until every caller succeeded and none failed any more; None: not in time."""
    succeeded: int = 0
    """How many calls succeeded, from before the fault to the end."""
    longest: float = 0.0
    """How long the longest call took, well or ill."""
    hung: int = 0
    """How many calls did not end when they were cancelled."""
    errors: list[BaseException] = field(default_factory=list)
    """What the calls raised, in the order of their ends."""

    @property
    def exceptions(self) -> Counter[str]:
        """How often each class of exception was met, by its name."""
        return Counter(type(error).__name__ for error in self.errors)

    def row(self) -> tuple[str, ...]:
        """Return the cells of the table."""
        when = "not in time" if self.recovered_after is None else f"{self.recovered_after:.2f} s"
        met = ", ".join(f"{count} {name}" for name, count in self.exceptions.most_common())
        hung = f"; {self.hung} hung" if self.hung else ""
        counts = str(self.succeeded), str(len(self.errors))
        return self.fault, when, *counts, f"{self.longest:.2f} s", (met or "none") + hung


@dataclass(frozen=True)
class Report:
    """The outcomes, in the order of the faults; `print(report)` prints a table."""

    outcomes: tuple[Outcome, ...]

    def __iter__(self) -> Iterator[Outcome]:
        return iter(self.outcomes)

    def __str__(self) -> str:
        rows = [COLUMNS, *(outcome.row() for outcome in self.outcomes)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
        lines.insert(1, "  ".join("-" * width for width in widths))
        return "\n".join(lines)

    def assert_survived(
        self,
        within: float,
        *,
        errors: tuple[type[BaseException], ...] | None = None,
        max_errors: int | None = None,
    ) -> None:
        """Raise AssertionError, with the table, unless all worked again *within* seconds.

        *errors* are the exceptions a caller may meet (default: any), *max_errors* how many calls
        may fail for each fault.
        """
        wrong = []
        for outcome in self.outcomes:
            if outcome.recovered_after is None or outcome.recovered_after > within:
                wrong.append(f"{outcome.fault}: did not work again within {within:g} s")
            if outcome.hung:
                wrong.append(f"{outcome.fault}: {outcome.hung} calls hung")
            if max_errors is not None and len(outcome.errors) > max_errors:
                wrong.append(f"{outcome.fault}: {len(outcome.errors)} calls failed")
            others = [e for e in outcome.errors if errors is not None and not isinstance(e, errors)]
            wrong += [f"{outcome.fault}: {type(e).__name__}: {e}" for e in others]
        if wrong:
            raise AssertionError("\n".join([*wrong, "", str(self)]))


async def under_faults(
    work: Callable[[], Awaitable[object]],
    cluster: Cluster,
    faults: Sequence[Fault] | None = None,
    *,
    proxies: Sequence[FaultProxy] = (),
    callers: int = 4,
    pause: float = 0.01,
    timeout: float = 30.0,
) -> Report:
    """Call *work* again and again, by several callers at a time, while faults strike one by one.

    After each fault the servers are put together again, with their contents: a new primary stays
    one, and the old one becomes its standby. Durations are in seconds.

    Args:
        work: The program's own: one unit of its work, such as a request to it. It is connected to
            *cluster*, or through *proxies*, and goes on being so from fault to fault.
        cluster: Its servers.
        faults: What happens to them; by default all of `FAULTS` that these servers allow.
        proxies: One before each server, in the cluster's order, where faults of the network are
            asked for.
        callers: How many tasks call *work*.
        pause: How long each of them waits after a call.
        timeout: How long *work* may take to work before a fault, and again after it.

    Raises:
        AssertionError: *work* did not work before a fault.
        ValueError: A fault needs a standby or proxies that are not there.
    """
    stage = Stage(cluster, proxies)
    if faults is None:
        faults = [fault for fault in FAULTS if fault.possible(stage)]
    for fault in faults:
        if not fault.possible(stage):
            needs = "proxies" if fault.proxy and not stage.proxies else "a standby"
            raise ValueError(f"{fault.name!r} needs {needs}")
    outcomes = []
    for fault in faults:
        await stage.find_primary()
        outcome = Outcome(fault.name)
        run = Callers(work, outcome, callers, pause)
        try:
            await run.start(timeout)
            began = monotonic()
            await fault.strike(stage)
            outcome.recovered_after = await run.back(began, timeout)
        finally:
            await run.stop()
            await stage.repair()
        outcomes.append(outcome)
    return Report(tuple(outcomes))


class Callers:
    """Tasks that call the work for ever, and note what comes of it."""

    def __init__(
        self, work: Callable[[], Awaitable[object]], outcome: Outcome, count: int, pause: float
    ) -> None:
        self._work = work
        self._outcome = outcome
        self._pause = pause
        self._began = [0.0] * count  # when the newest call that succeeded began
        self._ended = [0.0] * count  # and when it ended
        self._last_bad = 0.0  # when the newest one that failed ended
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self, timeout: float) -> None:
        """Return when every caller has succeeded once."""
        began = monotonic()
        self._tasks = [
            asyncio.create_task(self._call(number), name=f"caller-{number}")
            for number in range(len(self._began))
        ]
        try:
            async with asyncio.timeout(timeout):
                await self._until(self._began, began)
        except TimeoutError:
            met = "; ".join(f"{type(e).__name__}: {e}" for e in self._outcome.errors[-1:])
            raise AssertionError(
                f"the work did not work within {timeout:g} s, before {self._outcome.fault!r}: {met}"
            ) from None

    async def back(self, since: float, timeout: float) -> float | None:
        """Return the seconds from *since* until every caller succeeded and none failed any more.

        What succeeded before now does not count: the fault may not have reached it.
        """
        struck = monotonic()
        try:
            async with asyncio.timeout(timeout):
                while True:
                    failed = len(self._outcome.errors)
                    await self._until(self._ended, max(struck, self._last_bad))
                    end = monotonic()
                    await self._until(self._began, end)
                    if len(self._outcome.errors) == failed:
                        return end - since
        except TimeoutError:
            return None

    async def stop(self) -> None:
        """End the callers; one that does not end is counted as hung."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            _, hung = await asyncio.wait(self._tasks, timeout=ENDING)
            self._outcome.hung = len(hung)

    async def _until(self, instants: list[float], since: float) -> None:
        while min(instants) <= since:  # noqa: ASYNC110  many callers, and all have to
            await asyncio.sleep(LOOK)

    async def _call(self, number: int) -> None:
        while True:
            began = monotonic()
            try:
                await self._work()
            except Exception as error:  # noqa: BLE001  whatever it is, it is reported
                self._last_bad = monotonic()
                self._outcome.errors.append(error)
            else:
                self._began[number], self._ended[number] = began, monotonic()
                self._outcome.succeeded += 1
            self._outcome.longest = max(self._outcome.longest, monotonic() - began)
            await asyncio.sleep(self._pause)
