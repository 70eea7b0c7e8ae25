"""`close()` while every server is frozen: it returns in time and leaves nothing behind."""

from __future__ import annotations

import asyncio
import gc
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from pgmoor import ConnectionManager, ManagerClosed
from support import both_loops, until

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from pgmoor.testing import Cluster

LIMIT = 0.5  # seconds: `close_timeout`


class Callers:
    """Tasks that each hold a connection in a transaction, and then do one thing with it."""

    def __init__(self, manager: ConnectionManager) -> None:
        self._manager = manager
        self._go = asyncio.Event()
        self._ready = 0
        self.tasks: dict[str, asyncio.Task[Any]] = {}

    def add(self, name: str, work: Callable[[Any], Awaitable[Any]]) -> None:
        self.tasks[name] = asyncio.create_task(self._run(work), name=name)

    async def _run(self, work: Callable[[Any], Awaitable[Any]]) -> None:
        conn = await self._manager.getconn()
        await conn.execute("select 1")
        self._ready += 1
        await self._go.wait()
        await work(conn)

    async def release(self) -> None:
        """Let all of them continue at once."""
        self._go.set()
        await asyncio.sleep(0)

    async def ready(self) -> None:
        """Wait until each of them holds a connection."""
        await until(lambda: self._ready == len(self.tasks))

    async def errors(self) -> dict[str, BaseException | None]:
        """Return the error of each, once they have all ended."""
        _, late = await asyncio.wait(self.tasks.values(), timeout=0.5)
        assert not late, late
        return {
            name: asyncio.CancelledError() if task.cancelled() else task.exception()
            for name, task in self.tasks.items()
        }


@both_loops
async def test_close_with_frozen_servers_takes_close_timeout_and_leaves_nothing(
    pair: Cluster,
) -> None:
    before = _belongings()
    manager = ConnectionManager(
        pair.conninfo(host=f"{pair[0].host},{pair[1].socket_dir}"),
        min_size=6,
        close_timeout=LIMIT,
        health_interval=0.1,
        validate_after=0.0,
    )
    await manager.open(wait=True)
    callers = Callers(manager)
    callers.add("query", lambda conn: conn.execute("select 1"))
    callers.add("cancelled", lambda conn: conn.execute("select 1"))
    callers.add("commit", lambda conn: conn.commit())
    callers.add("rollback", manager.putconn)
    await callers.ready()
    for node in pair:
        await node.freeze()
    await callers.release()
    waiters = [asyncio.create_task(manager.getconn()) for _ in range(6)]
    await until(lambda: manager.get_stats()["requests_waiting"] == 4)  # two are being tested
    callers.tasks["cancelled"].cancel()  # the cancel request gets no answer
    await asyncio.sleep(0)
    began = monotonic()
    await manager.close()
    taken = monotonic() - began

    assert taken < LIMIT + 1, taken  # 0.1 s wanted
    errors = await callers.errors()
    assert isinstance(errors["query"], psycopg.OperationalError), errors
    assert isinstance(errors["cancelled"], asyncio.CancelledError), errors
    assert isinstance(errors["commit"], psycopg.OperationalError), errors
    assert errors["rollback"] is None, errors
    for waiter in waiters:
        with pytest.raises(ManagerClosed):
            await waiter
    del callers, waiters, waiter, errors
    assert _belongings() == before


def _belongings() -> tuple[set[asyncio.Task[Any]], dict[str, str]]:
    """Return the tasks and the descriptors of this process."""
    gc.collect()
    descriptors = {}
    for path in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # the one that lists them
            descriptors[path.name] = str(path.readlink())
    return asyncio.all_tasks(), descriptors
