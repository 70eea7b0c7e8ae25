"""What serves many callers has neither the context nor the task factory of one of them."""

from __future__ import annotations

import asyncio
import sys
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import pytest

from pgmoor import ConnectionManager

if TYPE_CHECKING:
    from pgmoor.events import Event
    from pgmoor.testing import Cluster

request: ContextVar[str] = ContextVar("request", default="none")


async def test_callbacks_do_not_see_the_context_of_the_caller_who_needed_a_connection(
    alone: Cluster,
) -> None:
    seen: list[str] = []

    async def configure(_: Any) -> None:
        seen.append(request.get())

    def hear(_: Event) -> None:
        seen.append(request.get())

    manager = ConnectionManager(
        alone.conninfo(), min_size=0, max_size=1, max_overflow=2, configure=configure, on_event=hear
    )
    async with manager:

        async def caller(number: int, ready: asyncio.Barrier) -> None:
            request.set(f"request {number}")
            async with manager.connection() as conn:
                await ready.wait()
                await conn.execute("select 1")

        barrier = asyncio.Barrier(3)
        await asyncio.gather(*(caller(number, barrier) for number in range(3)))

    assert len(seen) > 3
    assert set(seen) == {"none"}


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager task factories came with 3.12")
async def test_an_eager_task_factory_neither_stops_the_pool_nor_reenters_the_emitter(
    alone: Cluster,
) -> None:
    loop = asyncio.get_running_loop()
    loop.set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined]
    emitting = False
    reentered: list[Event] = []

    def hear(event: Event) -> None:
        if emitting:
            reentered.append(event)

    manager = ConnectionManager(alone.conninfo(), min_size=1, max_size=4, max_overflow=2)
    emit = manager._listeners.emit

    def noted(event: Event) -> None:
        nonlocal emitting
        emitting = True
        emit(event)
        emitting = False

    manager._listeners.emit = noted  # type: ignore[method-assign]
    manager.subscribe(hear)
    async with manager:
        for _ in range(3):
            async with asyncio.timeout(10):
                held = [await manager.getconn() for _ in range(6)]
            for conn in held:
                await manager.putconn(conn)

    assert reentered == []
