"""Times libraries against each other, in short slices, in a new random order each round.

So a machine that is slow for a while is slow for all of them. Ratios to the reference are taken
within a round; the figure shown is the median over the rounds.
"""

from __future__ import annotations

import asyncio
import gc
import random
from dataclasses import dataclass, field
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from contestants import Contestant

    Slice = Callable[[Contestant, float], Awaitable[float]]

BATCH = 50


@dataclass
class Series:
    """Microseconds for one operation, one figure for each round."""

    micros: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        return median(self.micros)

    def ratio(self, reference: Series) -> float:
        """Return the median of the rounds' ratios."""
        return median(a / b for a, b in zip(self.micros, reference.micros, strict=True))

    def excess(self, reference: Series) -> float:
        """Return the median of the rounds' differences, in microseconds."""
        return median(a - b for a, b in zip(self.micros, reference.micros, strict=True))


async def idle_checkouts(contestant: Contestant, seconds: float) -> float:
    """Return the microseconds for taking a connection and giving it back, in one task."""
    acquire = contestant.acquire
    done = 0
    began = perf_counter()
    deadline = began + seconds
    while (now := perf_counter()) < deadline:
        for _ in range(BATCH):
            async with acquire():
                pass
        done += BATCH
    return (now - began) / done * 1e6


async def pairs(contestant: Contestant, seconds: float) -> float:
    """Return the microseconds for a `getconn()` and its `putconn()`, in one task."""
    pool = contestant.pool
    done = 0
    began = perf_counter()
    deadline = began + seconds
    while (now := perf_counter()) < deadline:
        for _ in range(BATCH):
            await pool.putconn(await pool.getconn())
        done += BATCH
    return (now - began) / done * 1e6


async def opening(contestant: Contestant, seconds: float) -> float:  # noqa: ARG001  it is one call
    """Return the microseconds for opening a library and waiting until its pool is full."""
    await contestant.close()
    began = perf_counter()
    await contestant.open()
    return (perf_counter() - began) * 1e6


async def crowded_selects(
    contestant: Contestant, seconds: float, *, tasks: int = 64, statement: str = "SELECT 1"
) -> float:
    """Return the microseconds for a checkout with a statement, while many tasks share the pool."""
    acquire, execute = contestant.acquire, contestant.executor(statement)
    done = 0
    deadline = perf_counter() + seconds

    async def work() -> None:
        nonlocal done
        while True:  # at least once: to start thousands of tasks takes longer than a slice
            async with acquire() as conn:
                await execute(conn)
            done += 1
            if perf_counter() >= deadline:
                return

    began = perf_counter()
    await asyncio.gather(*(work() for _ in range(tasks)))
    return (perf_counter() - began) / done * 1e6


async def compare(
    contestants: Mapping[str, Contestant], measure: Slice, *, rounds: int, seconds: float
) -> dict[str, Series]:
    """Measure every library once in each round, each time after a garbage collection."""
    for contestant in contestants.values():
        await measure(contestant, seconds / 2)
    series = {name: Series() for name in contestants}
    gc.collect()
    gc.freeze()  # later collections skip the objects made so far
    try:
        for _ in range(rounds):
            for name in random.sample(list(contestants), len(contestants)):
                gc.collect()
                series[name].micros.append(await measure(contestants[name], seconds))
    finally:
        gc.unfreeze()
    return series


async def time_call(call: Callable[[], Awaitable[Any]], times: int) -> float:
    """Return the microseconds that one awaited call takes, as the median of ten batches."""
    figures = []
    for _ in range(10):
        began = perf_counter()
        for _ in range(times):
            await call()
        figures.append((perf_counter() - began) / times * 1e6)
    return median(figures)
