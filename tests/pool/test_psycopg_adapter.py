"""What is assumed of psycopg_pool: it fails here when a release changes it."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import pytest
from psycopg_pool import PoolClosed

from pgmoor._core.connection.managed import ManagedConnection
from pgmoor._core.pool.psycopg_adapter import InnerPool, set_return_address
from support import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from pgmoor.testing import Cluster


class Returns:
    async def putconn(self, conn: Any) -> None:
        """Take nothing back."""


@pytest.fixture
async def inner() -> AsyncIterator[InnerPool]:
    pool = InnerPool("adapted")
    await pool.open()
    yield pool
    await pool.aclose(1.0)


@pytest.fixture
async def dial(alone: Cluster) -> AsyncIterator[Callable[[], Any]]:
    made: list[ManagedConnection] = []

    async def make() -> ManagedConnection:
        made.append(await ManagedConnection.connect(alone.conninfo()))
        return made[-1]

    yield make
    for conn in made:
        conn.discard()


async def test_it_lends_what_it_is_given_counts_it_and_replaces_nothing(
    inner: InnerPool, dial: Callable[[], Any], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    made = [await dial() for _ in range(5)]
    lent = await asyncio.gather(*(inner.admit(conn) for conn in made))
    assert set(lent) == set(made)
    assert inner.size == 5
    set_return_address(lent[0], Returns())
    async with lent[0]:  # a block of its own must not close it
        await lent[0].execute("select 1")
    assert not lent[0].closed

    for conn in lent:
        conn.discard()
        await inner.dismiss(conn, 1.0)
    await until(lambda: inner.size == 0)
    conn = await dial()
    assert await inner.admit(conn) is conn
    await until(lambda: inner.size == 1)
    assert caplog.records == []


async def test_one_admitted_while_another_is_dismissed_is_counted_once(
    inner: InnerPool, dial: Callable[[], Any]
) -> None:
    held = await inner.admit(await dial())
    for _ in range(20):
        held.discard()
        _, held = await asyncio.gather(inner.dismiss(held, 1.0), inner.admit(await dial()))
        assert not held.closed
    await until(lambda: inner.size == 1)


@pytest.mark.parametrize("turns", range(1, 7))
async def test_an_admission_that_is_cancelled_closes_its_connection(
    turns: int, inner: InnerPool, dial: Callable[[], Any]
) -> None:
    conn = await dial()
    task = asyncio.create_task(inner.admit(conn))
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    if task.cancelled():
        assert conn.closed
        other = await dial()
        assert await inner.admit(other) is other
    else:
        other = task.result()
    other.discard()
    await inner.dismiss(other, 1.0)
    await until(lambda: inner.size == 0)


async def test_a_worker_that_something_else_has_cancelled_is_started_again(
    inner: InnerPool, dial: Callable[[], Any]
) -> None:
    for _ in range(2):
        for task in asyncio.all_tasks():
            if task.get_name().startswith("adapted-"):
                task.cancel()
        conn = await dial()
        assert await asyncio.wait_for(inner.admit(conn), 10) is conn
    admitting = asyncio.create_task(inner.admit(await dial()))
    await asyncio.sleep(0)  # it waits for the worker
    for task in asyncio.all_tasks():
        if "-worker-" in task.get_name():
            task.cancel()
    assert not (await asyncio.wait_for(admitting, 10)).closed
    await until(lambda: inner.size == 3)


async def test_a_closed_pool_admits_nothing_and_takes_back_what_it_lent(
    inner: InnerPool, dial: Callable[[], Any]
) -> None:
    held = await inner.admit(await dial())
    await inner.aclose(1.0)
    late = await dial()
    with pytest.raises(PoolClosed):
        await inner.admit(late)
    assert late.closed
    held.discard()
    await inner.dismiss(held, 1.0)
