"""Tasks that are cancelled, and what is left of the pool after them."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import anyio

from support import hold, until

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from pgmoor import ConnectionManager

MANY = "select repeat('x', 1000) from generate_series(1, 100000)"


async def all_free(manager: ConnectionManager) -> None:
    """Wait until no connection is in use and no caller waits."""
    await until(
        lambda: manager.get_stats()["pool_size"] - manager.get_stats()["pool_available"] == 0
    )
    await until(lambda: manager.get_stats()["requests_waiting"] == 0)


async def pids(manager: ConnectionManager, count: int) -> set[int]:
    conns = await hold(manager, count)
    found = {conn.info.backend_pid for conn in conns}
    for conn in conns:
        await manager.putconn(conn)
    return found


async def limited_by_asyncio(seconds: float, work: Awaitable[Any]) -> None:
    async with asyncio.timeout(seconds):
        await work


async def limited_by_anyio(seconds: float, work: Awaitable[Any]) -> None:
    with anyio.fail_after(seconds):
        await work


class Halt:
    """A point in a task that it reaches and does not leave by itself."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()

    async def __call__(self) -> None:
        self.reached.set()
        await asyncio.Event().wait()


async def after_a_swallowed_cancellation(work: Callable[[], Awaitable[None]]) -> None:
    """Do something in a task that counts as being cancelled for the rest of its life."""

    halt = Halt()

    async def swallows() -> None:
        with suppress(asyncio.CancelledError):
            await halt()
        await work()

    task = asyncio.create_task(swallows())
    await halt.reached.wait()
    task.cancel()
    await task
