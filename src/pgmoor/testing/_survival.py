"""`under_faults`: a program's own work under faults, and a report of what its callers saw."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from time import monotonic
from typing import TYPE_CHECKING

from ._faults import FAULTS, Fault
from ._stage import Stage

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence

    from ._cluster import Cluster
    from ._proxy import FaultProxy

POLL_INTERVAL = 0.005  # seconds between two looks at what the callers have done
CANCEL_TIMEOUT = 5.0  # seconds for a cancelled call to end
COLUMNS = ("fault", "works again after", "succeeded", "failed", "longest call", "exceptions")


@dataclass
class Outcome:
    """What the callers saw of one fault; durations are in seconds."""

    fault: str
    recovered_after: float | None = None
    """Time from the fault until every caller succeeded and no call failed any more.

    None if it took longer than `timeout`.
    """
    succeeded: int = 0
    """Number of calls that succeeded, from before the fault to the end."""
    longest: float = 0.0
    """Duration of the longest call, whether it succeeded or failed."""
    hung: int = 0
    """Number of calls that did not end when they were cancelled."""
    errors: list[BaseException] = field(default_factory=list)
    """What the calls raised, in the order in which they ended."""

    @property
    def exceptions(self) -> Counter[str]:
        """Number of exceptions of each class, by the name of the class."""
        return Counter(type(error).__name__ for error in self.errors)

    def row(self) -> tuple[str, ...]:
        """Return the cells of the outcome's row in the report's table."""
        when = "not in time" if self.recovered_after is None else f"{self.recovered_after:.2f} s"
        raised = ", ".join(f"{count} {name}" for name, count in self.exceptions.most_common())
        hung = f"; {self.hung} hung" if self.hung else ""
        counts = str(self.succeeded), str(len(self.errors))
        return self.fault, when, *counts, f"{self.longest:.2f} s", (raised or "none") + hung


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
        """Raise AssertionError, with the table, unless all calls worked again *within* seconds.

        It also fails if a call hung, if a call raised an exception that is none of *errors*
        (default: any may be raised), or if more than *max_errors* calls failed for one fault.
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
    """Call *work* repeatedly from several tasks, cause one fault after another, and report.

    After each fault, the servers are repaired and keep their contents: the new primary stays
    primary, and the old one becomes its standby. Durations are in seconds.

    Args:
        work: One unit of your program's work, such as a request to it. It connects to *cluster*,
            or through *proxies*, and keeps its connections from fault to fault.
        cluster: The servers.
        faults: The faults to cause; by default all of `FAULTS` that these servers allow.
        proxies: One in front of each server, in the cluster's order. Network faults need them.
        callers: Number of tasks that call *work*.
        pause: How long each task waits after a call.
        timeout: How long *work* may take to succeed before a fault, and again after it.

    Raises:
        AssertionError: *work* did not succeed before a fault, or sent no COMMIT to be lost.
        ValueError: A fault needs a standby or proxies that you did not give.
    """
    stage = Stage(cluster, proxies)
    outcomes = []
    for fault in _possible(faults, stage):
        await stage.find_primary()
        outcome = Outcome(fault.name)
        run = Callers(work, outcome, callers, pause)
        try:
            await run.start(timeout)
            began = monotonic()
            await fault.strike(stage)
            outcome.recovered_after = await run.recover(began, timeout)
        finally:
            await run.stop()
            await stage.repair()
        outcomes.append(outcome)
    return Report(tuple(outcomes))


def _possible(faults: Sequence[Fault] | None, stage: Stage) -> Sequence[Fault]:
    """Return the faults to cause; raise `ValueError` for one that these servers do not allow."""
    if faults is None:
        return [fault for fault in FAULTS if fault.possible(stage)]
    for fault in faults:
        if not fault.possible(stage):
            needs = "proxies" if fault.proxy and not stage.proxies else "a standby"
            raise ValueError(f"{fault.name!r} needs {needs}")
    return faults


class Callers:
    """Tasks that call the work until they are stopped, and record the outcome."""

    def __init__(
        self, work: Callable[[], Awaitable[object]], outcome: Outcome, count: int, pause: float
    ) -> None:
        self._work = work
        self._outcome = outcome
        self._pause = pause
        self._began = [0.0] * count  # when each caller's last successful call began
        self._ended = [0.0] * count  # and when it ended
        self._last_failure = 0.0  # when the last call that failed ended
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
            last = "; ".join(f"{type(e).__name__}: {e}" for e in self._outcome.errors[-1:])
            raise AssertionError(
                f"work() did not succeed from every caller within {timeout:g} s,"
                f" before the fault {self._outcome.fault!r}: {last or 'no call ended'}"
            ) from None

    async def recover(self, since: float, timeout: float) -> float | None:
        """Return the seconds from *since* until every caller succeeded and no call failed any more.

        Calls that have ended by now do not count: the fault may not have reached them.
        """
        struck = monotonic()
        try:
            async with asyncio.timeout(timeout):
                while True:
                    failed = len(self._outcome.errors)
                    await self._until(self._ended, max(struck, self._last_failure))
                    end = monotonic()
                    await self._until(self._began, end)
                    if len(self._outcome.errors) == failed:
                        return end - since
        except TimeoutError:
            return None

    async def stop(self) -> None:
        """Cancel the callers; one that does not end in time counts as hung."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            _, hung = await asyncio.wait(self._tasks, timeout=CANCEL_TIMEOUT)
            self._outcome.hung = len(hung)

    async def _until(self, instants: list[float], since: float) -> None:
        while min(instants) <= since:  # noqa: ASYNC110  no single event says so
            await asyncio.sleep(POLL_INTERVAL)

    async def _call(self, number: int) -> None:
        while True:
            began = monotonic()
            try:
                await self._work()
            except Exception as error:  # noqa: BLE001  the report names every exception
                self._last_failure = monotonic()
                self._outcome.errors.append(error)
            else:
                self._began[number], self._ended[number] = began, monotonic()
                self._outcome.succeeded += 1
            self._outcome.longest = max(self._outcome.longest, monotonic() - began)
            await asyncio.sleep(self._pause)
