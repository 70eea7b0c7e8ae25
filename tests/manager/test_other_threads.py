"""A manager's report may be asked for in any thread, whatever changes meanwhile."""

from __future__ import annotations

import asyncio
import random
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

from pgmoor._core.hosts.host import Host

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pgmoor import ConnectionManager
    from pgmoor.testing import Cluster

CHANGES = 3000
PORTS = range(1, 9)  # where nothing listens


@pytest.fixture
def hasty_threads() -> Iterator[None]:
    """Have Python switch between threads as often as it can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


class Asker(threading.Thread):
    """Asks a manager for its report until it is stopped, or gets an error."""

    def __init__(self, manager: ConnectionManager) -> None:
        super().__init__(daemon=True)
        self.error: BaseException | None = None
        self.reports = 0
        self.lists: set[int] = set()
        self._manager = manager
        self._stopped = threading.Event()

    def run(self) -> None:
        try:
            while not self._stopped.is_set():
                health = asyncio.run(self._manager.health()) if self.reports % 50 == 0 else None
                health = health or self._manager.snapshot()
                self.lists.add(len(health.hosts))
                str(health.to_dict())
                self.reports += 1
        except BaseException as error:  # noqa: BLE001  it is shown in the test
            self.error = error

    def stop(self) -> None:
        self._stopped.set()
        self.join(10)


@pytest.mark.usefixtures("hasty_threads")
async def test_a_report_may_be_asked_for_in_a_thread_while_hosts_come_and_go(
    alone: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(*alone, min_size=1, health_interval=60)
    await manager.wait()
    runtime = manager._runtime
    used = [runtime.live.evidence.table[0].host]
    rng = random.Random(7)
    asker = Asker(manager)
    asker.start()
    try:
        for number in range(CHANGES):
            others = [Host(0, "127.0.0.1", port) for port in rng.sample(PORTS, rng.randint(0, 7))]
            runtime.controller.revise(used + others)
            runtime.probing.follow_list()
            if number % 50 == 0:
                await asyncio.sleep(0)
            if asker.error:
                break
    finally:
        asker.stop()

    assert asker.error is None, repr(asker.error)
    assert asker.reports > 10
    assert len(asker.lists) > 1  # it has seen several lists
