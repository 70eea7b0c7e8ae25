"""Statements wait for their socket with one timer for all, and as safely as psycopg's own wait."""

from __future__ import annotations

import asyncio
import gc
import weakref
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import pytest
from psycopg import errors

from pgmoor import ConnectionManager
from pgmoor._core.connection import socket_wait

if TYPE_CHECKING:
    from psycopg.abc import PQGen

    from pgmoor.testing import Cluster

LARGE = 3_000_000  # bytes: more than a socket takes at once


async def test_every_kind_of_traffic_passes(alone: Cluster) -> None:
    async with ConnectionManager(alone.conninfo(), min_size=1) as manager:
        async with manager.connection() as conn:
            await conn.execute("create table traffic (line text)")
            cursor = await conn.execute("select %s::text", ["x" * LARGE])
            assert await cursor.fetchone() == ("x" * LARGE,)
            async with conn.cursor().copy("copy traffic from stdin") as copy:
                for _ in range(300):
                    await copy.write("y" * 10_000 + "\n")
            async with conn.cursor().copy("copy traffic to stdout") as copy:
                assert sum([len(bytes(data)) async for data in copy]) == 300 * 10_001
            async with conn.pipeline():
                cursors = [await conn.execute("select %s::int", [n]) for n in range(500)]
            assert [await one.fetchone() for one in cursors] == [(n,) for n in range(500)]
            rows = conn.cursor().stream("select generate_series(1, 1000)")
            assert [row[0] async for row in rows] == list(range(1, 1001))
            await conn.execute("listen news")
        async with manager.connection() as conn:
            assert [note async for note in conn.notifies(timeout=0.01)] == []


async def test_a_statement_ends_when_another_task_closes_its_socket(alone: Cluster) -> None:
    manager = ConnectionManager(alone.conninfo(), min_size=1)
    async with manager, manager.connection() as conn:
        query = asyncio.create_task(conn.execute("select pg_sleep(600)"))
        await alone[0].wait_for(
            "select exists (select from pg_stat_activity where wait_event = 'PgSleep')"
        )
        conn.pgconn.finish()
        with pytest.raises(errors.OperationalError):
            await asyncio.wait_for(query, 10)


async def test_a_thousand_statements_set_few_timers(
    alone: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = asyncio.get_running_loop()
    timers = 0
    call_at = loop.call_at

    def counted(*args: Any, **kwargs: Any) -> asyncio.TimerHandle:
        nonlocal timers
        timers += 1
        return call_at(*args, **kwargs)

    manager = ConnectionManager(alone.conninfo(), min_size=1)
    async with manager, manager.connection() as conn:
        monkeypatch.setattr(loop, "call_at", counted)
        for _ in range(1000):
            await conn.execute("select 1")
        assert timers < 500


async def test_the_timer_holds_nothing_of_the_first_caller(alone: Cluster) -> None:
    class Request:
        pass

    current: ContextVar[Request] = ContextVar("current")

    async def serve(manager: ConnectionManager) -> weakref.ref[Request]:
        current.set(Request())
        async with manager.connection() as conn:
            await conn.execute("select 1")
        return weakref.ref(current.get())

    async with ConnectionManager(alone.conninfo(), min_size=2) as manager:
        await manager.wait()
        async with manager.connection() as conn:
            request = await asyncio.create_task(serve(manager))
            await conn.execute("select pg_sleep(0.3)")  # the timer goes on meanwhile
            gc.collect()
            assert request() is None


async def test_work_that_never_waits_lets_others_run() -> None:
    def nothing() -> PQGen[None]:
        return
        yield

    others = 0

    async def count() -> None:
        nonlocal others
        while True:
            others += 1
            await asyncio.sleep(0)

    other = asyncio.create_task(count())
    loop = asyncio.get_running_loop()
    end = loop.time() + 0.2
    while loop.time() < end:
        await socket_wait.run(nothing(), -1)
    other.cancel()
    assert others > 5
