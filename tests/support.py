"""What fault tests share: a workload that records what its callers get, and recorded events."""

from __future__ import annotations

import asyncio
import importlib.util
import itertools
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, Any, Self, TypeVar

import pytest

from pgmoor import CommitOutcomeUnknown, ConnectionAborted
from pgmoor.instruments import Instrument

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from pgmoor import ConnectionManager
    from pgmoor.events import Event
    from pgmoor.testing import Cluster, FaultProxy, Node

E = TypeVar("E", bound="Event")

LOOPS = ["asyncio", *(["uvloop"] if importlib.util.find_spec("uvloop") else [])]
# For tests whose outcome depends on the event loop's sockets, timers and cancellation. All
# others run on asyncio's loop alone.
both_loops = pytest.mark.asyncio(loop_factories=LOOPS)


def loop_factories(item: pytest.Item) -> dict[str, Callable[..., Any]]:
    """Return asyncio's loop, and uvloop's as well for tests marked `both_loops`.

    For the conftest.py of each folder that has such tests.
    """
    factories: dict[str, Callable[..., Any]] = {"asyncio": asyncio.new_event_loop}
    marker = item.get_closest_marker("asyncio")
    if marker and "uvloop" in marker.kwargs.get("loop_factories", ()):
        import uvloop

        factories["uvloop"] = uvloop.new_event_loop
    return factories


def loop_name() -> str:
    """Return which of `LOOPS` is running."""
    return type(asyncio.get_running_loop()).__module__.partition(".")[0]


class Recorder:
    """Keeps all events of a manager, and waits for one of a kind."""

    def __init__(self, manager: ConnectionManager) -> None:
        self.events: list[Event] = []
        self._new = asyncio.Event()
        manager.subscribe(self._take)

    def _take(self, event: Event) -> None:
        self.events.append(event)
        self._new.set()

    def of(self, kind: type[E]) -> list[E]:
        """Return the events of one kind so far."""
        return [event for event in self.events if isinstance(event, kind)]

    async def wait_for(
        self, kind: type[E], timeout: float = 10, *, where: Callable[[E], bool] = lambda _: True
    ) -> E:
        """Return the first event of a kind, past or future."""
        async with asyncio.timeout(timeout):
            while True:
                self._new.clear()
                for event in self.of(kind):
                    if where(event):
                        return event
                await self._new.wait()


class Dials(Instrument):
    """Counts the dials for a manager's pools."""

    def __init__(self) -> None:
        self.count = 0

    def dialling(self, host: str) -> None:
        self.count += 1


def recorder(manager: ConnectionManager) -> Recorder:
    """Return the recorder that the `moor` fixture gave the manager."""
    found: Recorder = manager.recorder  # type: ignore[attr-defined]
    return found


@dataclass(frozen=True)
class Failed:
    """One operation that raised."""

    began: float
    ended: float
    error: BaseException


class Workload:
    """Tasks that each acquire a connection, insert a row, commit and pause, again and again."""

    def __init__(
        self,
        manager: ConnectionManager,
        *,
        tasks: int = 16,
        pause: float = 0.02,
        name: str = "",
    ) -> None:
        self.failed: list[Failed] = []
        self.acknowledged: dict[str, float] = {}  # each committed key, and when its turn began
        self.sent: dict[str, float] = {}  # each key that was sent to a server, and when
        self._manager = manager
        self._name = name  # tells the rows of several workloads apart
        self._pause = pause
        self._count = tasks
        self._last_good = [0.0] * tasks  # when the newest operation that succeeded began
        self._progress = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._numbers = itertools.count()

    async def __aenter__(self) -> Self:
        self._tasks = [
            asyncio.create_task(self._work(index), name=f"writer-{index}")
            for index in range(self._count)
        ]
        await self.flowing(monotonic())
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks, timeout=5)
        assert all(task.done() for task in self._tasks)

    async def _work(self, index: int) -> None:
        while True:
            began = monotonic()
            key = f"{self._name}{index}-{next(self._numbers)}"
            try:
                async with self._manager.connection() as conn:
                    self.sent[key] = monotonic()
                    await conn.execute("insert into work (id) values (%s)", [key])
            except Exception as error:  # noqa: BLE001  the test looks at each of them
                self.failed.append(Failed(began, monotonic(), error))
            else:
                self.acknowledged[key] = began
                self._last_good[index] = began
            self._progress.set()
            await asyncio.sleep(self._pause)

    async def flowing(self, since: float, timeout: float = 30) -> float:
        """Wait until every task has committed a row begun after *since*; return the instant."""
        async with asyncio.timeout(timeout):
            while min(self._last_good) < since:
                self._progress.clear()
                await self._progress.wait()
        return monotonic()

    async def back(self, since: float, timeout: float = 30) -> float:
        """Return the seconds from *since* until every task commits and none fails any more."""
        while True:
            failures = len(self.failed)
            start = max([since, *(item.ended for item in self.failed)])
            end = await self.flowing(start, timeout)
            await self.flowing(monotonic(), timeout)
            if len(self.failed) == failures:
                return end - since

    def acknowledged_since(self, since: float) -> set[str]:
        """Return the keys that were committed in turns that began after *since*."""
        return {key for key, began in self.acknowledged.items() if began > since}

    def errors(self) -> list[str]:
        """Return the errors as text, for the message of an assertion."""
        return [f"{type(item.error).__name__}: {item.error}" for item in self.failed]


async def reset(cluster: Cluster) -> None:
    """Bring a cluster back to what it was when it was made, with an empty table to work on."""
    await cluster.reset()
    await cluster[0].sql("create table if not exists work (id text, node int default 0)")
    await cluster[0].sql("truncate work")
    for node in cluster.nodes[1:]:
        await node.wait_for("select to_regclass('work') is not null")


async def fail_over(cluster: Cluster, work: Workload) -> float:
    """Kill the first server and promote the second; return the seconds until *work* is back."""
    await cluster[0].kill()
    await cluster[1].promote()
    return await work.back(monotonic())


async def fall_silent(
    manager: ConnectionManager, door: FaultProxy, standby: Node, work: Workload
) -> float:
    """Silence the primary and promote a standby; return the seconds until *work* is back.

    A statement that hangs meanwhile must end with an error that says why.
    """
    conn = await manager.getconn()
    hanging = asyncio.create_task(conn.execute("select pg_sleep(60)"))
    began = monotonic()
    door.silent()
    await standby.promote()
    back = await work.back(began)
    with pytest.raises(ConnectionAborted, match="newer timeline"):
        await hanging
    await manager.putconn(conn)
    return back


def only_aborted(work: Workload, host: str) -> None:
    """Check that only statements under way failed, by an abort that names the host and why."""
    assert len(work.failed) <= 8, work.errors()
    for item in work.failed:  # during COMMIT, the unknown outcome comes first
        assert isinstance(item.error, ConnectionAborted | CommitOutcomeUnknown), work.errors()
        assert f"connection to {host} was aborted" in str(item.error)
        assert "newer timeline" in str(item.error)


async def hold(manager: ConnectionManager, count: int) -> list[Any]:
    """Check out *count* connections."""
    return [await manager.getconn() for _ in range(count)]


async def fill(manager: ConnectionManager, count: int) -> list[Any]:
    """Make the pool hold *count* idle connections that have been used; return them."""
    conns = await hold(manager, count)
    for conn in conns:
        await manager.putconn(conn)
    return conns


def pool_pids(manager: Any) -> set[int]:
    """Return the server's process ids of the pool's connections; none without a host."""
    pool = manager._runtime.queue.pool
    return {conn.info.backend_pid for conn in pool.connections} if pool is not None else set()


async def until(condition: Callable[[], bool], timeout: float = 10) -> float:
    """Wait for a condition that no event announces; return the seconds it took."""
    began = monotonic()
    async with asyncio.timeout(timeout):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    return monotonic() - began


async def probed(manager: Any, host: int) -> None:
    """Wait for the outcome of a question that a host is asked from now on."""
    table, began = manager._runtime.live.evidence.table, monotonic()
    await until(lambda: bool(table[host].asked_at > began))
