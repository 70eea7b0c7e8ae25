"""A dial that is cut short leaves no socket behind, and needs no garbage collection for that."""

from __future__ import annotations

import asyncio
import gc
from typing import TYPE_CHECKING

import pytest

from pgmoor import ConnectionManager, ManagedConnection
from support import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


class Deaf:
    """A server that accepts connections, never answers, and counts those that are open."""

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
async def deaf() -> AsyncIterator[Deaf]:
    found = Deaf()
    server = await asyncio.start_server(found.serve, found.host, 0)
    async with server:
        found.port = server.sockets[0].getsockname()[1]
        yield found


@pytest.fixture
def no_gc() -> Iterator[None]:
    """Collect no garbage meanwhile, as in a program with little to do."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("no_gc")
async def test_close_ends_the_dials_under_way(deaf: Deaf) -> None:
    manager = ConnectionManager(deaf.conninfo)
    await manager.open()
    await until(lambda: deaf.opened > 0)
    await manager.close(timeout=1)
    await until(lambda: deaf.closed == deaf.opened, timeout=3)


@pytest.mark.usefixtures("no_gc")
async def test_a_dial_whose_error_is_kept_is_ended_all_the_same(deaf: Deaf) -> None:
    task = asyncio.create_task(ManagedConnection.connect(deaf.conninfo))
    await until(lambda: deaf.opened > 0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError) as kept:
        await task
    await until(lambda: deaf.closed == 1, timeout=3)

    assert kept.value.__traceback__ is not None
