"""One `connection()` lends one connection, once."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from pgmoor import ConnectionManager

if TYPE_CHECKING:
    from pgmoor.testing import Cluster


async def test_a_second_task_that_enters_the_same_connection_gets_an_error(
    alone: Cluster,
) -> None:
    async with ConnectionManager(alone.conninfo(), min_size=2, max_size=2) as manager:
        shared = manager.connection()

        async with shared as conn:
            with pytest.raises(RuntimeError, match=r"connection\(\)"):
                await shared.__aenter__()
            await conn.execute("select 1")

        with pytest.raises(RuntimeError, match=r"connection\(\)"):
            await shared.__aenter__()
        async with manager.connection() as one, manager.connection() as other:
            assert one is not other


async def test_two_tasks_that_enter_at_once_leave_no_slot_behind(alone: Cluster) -> None:
    async with ConnectionManager(alone.conninfo(), min_size=1, max_size=1) as manager:
        shared = manager.connection()

        async def use() -> None:
            async with shared as conn:
                await conn.execute("select 1")

        outcomes = await asyncio.gather(use(), use(), return_exceptions=True)

        assert [type(outcome) for outcome in outcomes if outcome] == [RuntimeError]
        async with asyncio.timeout(5), manager.connection() as conn:
            await conn.execute("select 1")
