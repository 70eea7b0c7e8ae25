"""A connection that is not at rest is never lent on: it is cut and replaced, with a warning."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from psycopg import OperationalError

from pgmoor import ConnectionAborted, ConnectionManager
from support import until

if TYPE_CHECKING:
    from pgmoor.testing import Cluster


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [
        record.getMessage().partition(": ")[2]
        for record in caplog.records
        if record.name == "pgmoor.pool" and record.levelno == logging.WARNING
    ]


@pytest.fixture
async def manager(alone: Cluster) -> Any:
    async with ConnectionManager(
        alone.conninfo(), min_size=1, max_size=1, timeout=5, kwargs={"autocommit": True}
    ) as manager:
        await manager.wait()
        yield manager


async def answers(manager: ConnectionManager) -> bool:
    """Return whether the next borrower gets a connection that works, at once."""
    async with asyncio.timeout(3), manager.connection() as conn:
        cursor = await conn.execute("select 1")
        return await cursor.fetchone() == (1,)


async def test_a_listener_that_outlives_its_block(
    manager: ConnectionManager, caplog: pytest.LogCaptureFixture
) -> None:
    listening = False

    async def listen(conn: Any) -> None:
        nonlocal listening
        await conn.execute("listen news")
        listening = True
        async for _ in conn.notifies():
            pass

    async with manager.connection() as conn:
        listener = asyncio.create_task(listen(conn))
        await until(lambda: listening and conn.lock.locked(), timeout=5)

    assert await answers(manager)
    with pytest.raises(OperationalError):
        await listener
    assert warnings(caplog) == ["a task still uses it, or a stream or notifies() was not closed"]


async def test_a_pipeline_that_was_not_closed(
    manager: ConnectionManager, caplog: pytest.LogCaptureFixture
) -> None:
    async with manager.connection() as conn:
        await conn.pipeline().__aenter__()

    assert await answers(manager)
    assert warnings(caplog) == ["its pipeline was not closed"]


@pytest.mark.parametrize("age", ["young", "old"])
async def test_a_statement_after_the_return(
    age: str, alone: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    validate_after = 0.0 if age == "old" else 60.0
    await alone[0].sql("create table if not exists late (id int)")
    async with ConnectionManager(
        alone.conninfo(), min_size=1, max_size=1, validate_after=validate_after
    ) as manager:
        async with manager.connection() as conn:
            await conn.execute("select 1")
        with suppress(ConnectionAborted):  # if the pool notices at this moment
            await conn.execute("insert into late values (1)")

        async with manager.connection() as other:
            cursor = await other.execute("select count(*) from late")

            assert await cursor.fetchone() == (0,)
            assert other is not conn
    assert warnings(caplog) == ["it was used after its return"]


async def test_a_reset_that_leaves_a_transaction_open(
    alone: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    async def reset(conn: Any) -> None:
        await conn.execute("select 1")

    async with ConnectionManager(alone.conninfo(), min_size=1, max_size=1, reset=reset) as manager:
        assert await answers(manager)
        assert await answers(manager)

    assert warnings(caplog) == ["`reset` left a transaction open"] * 2
