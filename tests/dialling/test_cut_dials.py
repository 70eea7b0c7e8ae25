"""A dial that is cut short leaves no socket open, even without a garbage collection."""

from __future__ import annotations

import asyncio
import gc
from typing import TYPE_CHECKING

import pytest

from pgmoor import ConnectionManager, ManagedConnection
from pgmoor._core.dialling.users_connect import call_connect
from support import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


class SilentServer:
    """Accepts connections, never answers, and counts those that are open."""

    host = "127.0.0.1"

    def __init__(self) -> None:
        self.opened = 0
        self.closed = 0
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.opened += 1
        while await reader.read(1000):
            pass
        self.closed += 1
        writer.close()

    @property
    def conninfo(self) -> str:
        return f"host={self.host} port={self.port} user=postgres dbname=postgres"


@pytest.fixture
async def silent() -> AsyncIterator[SilentServer]:
    found = SilentServer()
    server = await asyncio.start_server(found.serve, found.host, 0)
    async with server:
        found.port = server.sockets[0].getsockname()[1]
        yield found


@pytest.fixture(autouse=True)
def no_gc() -> Iterator[None]:
    """Collect no garbage meanwhile, as in a program with little to do."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


async def test_close_ends_the_dials_that_are_under_way(silent: SilentServer) -> None:
    manager = ConnectionManager(silent.conninfo)
    await manager.open()
    await until(lambda: silent.opened > 0)
    await manager.close(timeout=1)
    await until(lambda: silent.closed == silent.opened, timeout=3)


async def test_the_socket_of_a_cancelled_dial_is_closed_although_its_error_is_kept(
    silent: SilentServer,
) -> None:
    task = asyncio.create_task(call_connect(ManagedConnection, silent.conninfo, {}))
    await until(lambda: silent.opened > 0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError) as kept:
        await task
    await until(lambda: silent.closed == 1, timeout=3)

    assert kept.value.__traceback__ is not None
