"""A callback of the program that ignores cancellation keeps no session beyond `close()`."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from pgmoor import ConnectionManager, ManagerClosed

if TYPE_CHECKING:
    from pgmoor.testing import Cluster

LIMIT = 0.5  # seconds: `close_timeout`
SLACK = 3.0  # seconds, for a busy machine; `connect_timeout` is longer


class Stubborn:
    """A callback that goes on when it is cancelled, until the test lets it go."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.end = asyncio.Event()
        self.ended = 0
        self.begins = 0

    async def __call__(self, conn: Any) -> None:
        self.begins += 1
        self.begun.set()
        try:
            while not self.end.is_set():
                with suppress(asyncio.CancelledError):
                    await self.end.wait()
        finally:
            self.ended += 1

    async def let_go(self) -> None:
        self.end.set()
        async with asyncio.timeout(10):
            while self.ended < self.begins:  # noqa: ASYNC110  no event tells
                await asyncio.sleep(0.01)


@pytest.mark.parametrize("which", ["configure", "check", "reset"])
async def test_the_connection_of_a_callback_that_ignores_cancellation_is_cut_by_close(
    which: str, alone: Cluster
) -> None:
    stubborn = Stubborn()
    conninfo = alone.conninfo(application_name=which, connect_timeout=30)
    callback: Any = {which: stubborn}
    manager = ConnectionManager(
        conninfo, min_size=1, close_timeout=LIMIT, cancel_timeout=60, health_timeout=60, **callback
    )
    await manager.open()
    user = asyncio.create_task(use(manager))
    await asyncio.wait_for(stubborn.begun.wait(), 10)
    began = monotonic()
    try:
        await manager.close()
        assert monotonic() - began < LIMIT + SLACK
        await alone[0].wait_for(
            f"select not exists (select from pg_stat_activity where application_name = '{which}')"
        )
        assert not stubborn.ended  # it still runs
    finally:
        await stubborn.let_go()
    with suppress(ManagerClosed, psycopg.OperationalError):
        await user


async def use(manager: ConnectionManager) -> None:
    async with manager.connection() as conn:
        await conn.execute("select 1")
