"""PgQueuer, which keeps one connection, on one that a manager lends."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pgqueuer
from pgqueuer import PgQueuer, Queries

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from pgqueuer import Job

    from pgmoor.testing import Cluster


async def test_its_worker_gets_a_connection_to_the_next_primary(
    pair: Cluster,
    moor: Callable[..., Any],
    primary_lost: AsyncIterator[str],
    again: Callable[..., Any],
) -> None:
    manager = await moor(*pair, min_size=1, kwargs={"autocommit": True})
    pool = manager.as_pool()
    done: asyncio.Queue[str] = asyncio.Queue()

    @asynccontextmanager
    async def factory() -> AsyncIterator[PgQueuer]:
        async with pool.connection() as conn:
            queuer = PgQueuer.from_psycopg_connection(conn)

            @queuer.entrypoint("note")
            async def note(job: Job) -> None:
                assert job.payload is not None
                done.put_nowait(job.payload.decode())

            yield queuer

    async def enqueue(what: str) -> None:
        async with pool.connection() as conn:
            await Queries.from_psycopg_connection(conn).enqueue("note", what.encode())

    async with pool.connection() as conn:
        await Queries.from_psycopg_connection(conn).install()
    worker = asyncio.create_task(
        pgqueuer.run(
            factory,
            dequeue_timeout=timedelta(seconds=600),
            restart_on_failure=True,
            restart_delay=timedelta(seconds=0.1),
            shutdown=asyncio.Event(),  # which leaves signals to others
        )
    )
    await enqueue("at the beginning")
    assert await asyncio.wait_for(done.get(), 10) == "at the beginning"

    async for loss in primary_lost:
        await again(lambda loss=loss: enqueue(loss))
        while await asyncio.wait_for(done.get(), 10) != loss:
            pass  # a job whose end was not recorded is done again
    assert not worker.done()
    worker.cancel()
    await asyncio.wait([worker], timeout=10)
