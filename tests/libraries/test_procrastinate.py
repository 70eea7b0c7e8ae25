"""Procrastinate's connector and worker on `as_pool()`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from procrastinate import App, PsycopgConnector
from procrastinate.exceptions import ConnectorException

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from pgmoor.testing import Cluster

LISTENS = "select count(*) > 0 from pg_stat_activity where query like 'LISTEN%'"


async def test_its_worker_runs_jobs_as_soon_as_they_are_deferred(
    pair: Cluster,
    moor: Callable[..., Any],
    primary_lost: AsyncIterator[str],
    again: Callable[..., Any],
) -> None:
    manager = await moor(*pair, min_size=1)
    app = App(connector=PsycopgConnector())
    done: asyncio.Queue[str] = asyncio.Queue()

    @app.task
    async def note(what: str) -> None:
        done.put_nowait(what)

    async with app.open_async(manager.as_pool()):
        await app.schema_manager.apply_schema_async()
        worker = asyncio.create_task(
            app.run_worker_async(
                install_signal_handlers=False,
                fetch_job_polling_interval=600,  # only its listener tells it of a job
            )
        )
        await pair[0].wait_for(LISTENS)
        await note.defer_async(what="at the beginning")
        assert await asyncio.wait_for(done.get(), 10) == "at the beginning"

        primary = 0
        async for loss in primary_lost:
            primary = 1 - primary
            await pair[primary].wait_for(LISTENS)
            await again(lambda loss=loss: note.defer_async(what=loss), ConnectorException)
            assert await asyncio.wait_for(done.get(), 10) == loss
        assert done.empty()
        assert not worker.done()
        worker.cancel()
        await asyncio.wait([worker], timeout=10)
    assert not manager.closed  # it is not the connector's to close
