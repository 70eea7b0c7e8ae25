"""The timer of an attempt: it cancels its task as `asyncio.timeout()` does, or cuts a COMMIT."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from psycopg import pq

from pgmoor._core.work.limit import Limit


def current() -> asyncio.Task[object]:
    task = asyncio.current_task()
    assert task is not None
    return task


@pytest.mark.parametrize("swallowed", [False, True])
async def test_it_ends_a_block_and_leaves_no_cancellation_behind(swallowed: bool) -> None:
    limit = Limit(current(), 0)
    with pytest.raises(asyncio.CancelledError) as caught:
        await asyncio.Event().wait()
    assert limit.ended(None if swallowed else caught.value)
    assert current().cancelling() == 0
    await asyncio.sleep(0)


async def test_another_cancellation_at_the_same_time_is_not_taken_for_its_own() -> None:
    found: list[bool] = []

    async def work() -> None:
        limit = Limit(current(), 0)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError as error:
            found.append(limit.ended(error))
            raise

    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    asyncio.get_running_loop().call_soon(task.cancel)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert found == [False]


async def test_an_error_of_the_block_is_not_taken_for_the_end_of_its_time() -> None:
    limit = Limit(current(), 0)
    with pytest.raises(asyncio.CancelledError):
        await asyncio.Event().wait()
    assert not limit.ended(ValueError())
    assert current().cancelling() == 0


async def test_once_stopped_it_does_nothing() -> None:
    limit = Limit(current(), 0)
    limit.stop()
    for _ in range(3):
        await asyncio.sleep(0)
    assert not limit.ended(None)


async def test_once_it_commits_its_connection_is_cut_and_its_task_goes_on() -> None:
    cut = asyncio.Event()

    class Conn:
        pgconn = type("PGconn", (), {"status": pq.ConnStatus.OK})

        def has_unread(self) -> bool:
            return False

        def abort(self, reason: str) -> None:
            assert "COMMIT" in reason
            cut.set()

    conn: Any = Conn()
    limit = Limit(current(), 0)
    limit.commits(conn)
    await asyncio.wait_for(cut.wait(), 5)
    limit.stop()
    assert not limit.ended(None)
