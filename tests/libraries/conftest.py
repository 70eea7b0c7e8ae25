"""What each library lives through: its primary crashes, and the next one is demoted.

Where the extra `libraries` is not installed, its tests don't exist.
"""

from __future__ import annotations

import asyncio
import importlib.util
from typing import TYPE_CHECKING, Protocol, TypeVar

import psycopg
import pytest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from pgmoor.testing import Cluster, Node

T = TypeVar("T")

NEEDED = ("langgraph", "procrastinate", "pgqueuer", "sqlmodel")
if missing := [name for name in NEEDED if importlib.util.find_spec(name) is None]:
    assert missing == list(NEEDED), f"{missing} of the extra `libraries` are missing"
    collect_ignore_glob = ["test_*.py"]


async def catch_up(primary: Node, standby: Node) -> None:
    """Wait until the standby has all that the primary has."""
    [(position,)] = await primary.sql("select pg_current_wal_lsn()")
    await standby.wait_for(f"select pg_last_wal_replay_lsn() >= '{position}'")


async def losses(pair: Cluster) -> AsyncIterator[str]:
    first, second = pair
    await catch_up(first, second)
    await first.kill()
    await second.promote()
    yield "the primary has crashed"
    await first.rejoin(second)
    await catch_up(second, first)
    await second.demote()  # it goes on answering, and ends no session
    await first.promote()
    yield "the primary was demoted"


@pytest.fixture
def primary_lost(pair: Cluster) -> AsyncIterator[str]:
    """Loses the primary at each turn of the loop; `pair` has another one then."""
    return losses(pair)


class Again(Protocol):
    async def __call__(
        self, operation: Callable[[], Awaitable[T]], error: type[Exception] = psycopg.Error
    ) -> T: ...


@pytest.fixture
def again() -> Again:
    """Repeats what a library does until it no longer meets the fault, as its caller would."""

    async def repeat(
        operation: Callable[[], Awaitable[T]], error: type[Exception] = psycopg.Error
    ) -> T:
        async with asyncio.timeout(10):
            while True:
                try:
                    return await operation()
                except error:
                    await asyncio.sleep(0.01)

    return repeat
