"""An instrument that fails, or ends itself, makes no other one miss a call."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from pgmoor._core.reporting.instrument_list import METHODS
from pgmoor.instruments import Instrument
from support import until

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgmoor import ConnectionManager
    from pgmoor.testing import Cluster


class Counting(Instrument):
    """Counts the calls of each method, and does *then* in each."""

    def __init__(self, then: Callable[[], None] = lambda: None) -> None:
        self.calls: Counter[str] = Counter()
        for name in METHODS:
            setattr(self, name, self._count(name, then))

    def _count(self, name: str, then: Callable[[], None]) -> Callable[..., None]:
        def call(*_: Any) -> None:
            self.calls[name] += 1
            then()

        return call


async def use(manager: ConnectionManager[Any]) -> None:
    """Do something of everything that instruments hear of."""
    conns = [await manager.getconn() for _ in range(3)]
    conns[0].abort("the test cuts it")
    for conn in conns:
        await manager.putconn(conn)
    await manager.health(fresh=True)
    await until(lambda: len(manager._runtime.queue.pool.connections) >= 2)  # type: ignore[union-attr]


def add_one_that_ends(manager: ConnectionManager, ends: str) -> None:
    def end_itself() -> None:
        end()

    def fail() -> None:
        raise ValueError("broken")

    end = manager.instrument(Counting(fail if ends == "by an error" else end_itself))


@pytest.mark.parametrize("ends", ["by an error", "by itself"])
async def test_no_other_instrument_misses_a_call_when_one_ends(
    ends: str, alone: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(alone[0], min_size=2, max_size=3, health_interval=60)
    await manager.wait()
    first, last = Counting(), Counting()
    manager.instrument(first)
    for _ in range(3):  # side by side: what removes one shifts the others
        add_one_that_ends(manager, ends)
    manager.instrument(last)

    await use(manager)
    await manager.close()

    assert {"checked_out", "returned", "dialled", "probed", "aborted", "entered"} <= set(
        first.calls
    )
    assert first.calls == last.calls
