"""All that knows how psycopg_pool works inside.

Each connection comes out of an `AsyncConnectionPool` when it is made and goes back into it when it
is closed. What lies idle meanwhile and who waits is not its business: a checkout by it costs three
times as much.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from contextlib import suppress
from typing import Any, Protocol, cast

from psycopg_pool import AsyncConnectionPool, PoolTimeout

from pgmoor._core.connection.managed import ManagedConnection
from pgmoor._core.reporting.psycopg_logs import WarningsAbout
from pgmoor._core.settings.sizes import LIMIT

FOREVER = 1e9  # seconds: what psycopg_pool gets where the decision is made here
LOOK_AGAIN = 1.0  # seconds; it takes a few turns of the event loop to lend one


class PoolName(str):
    """The name of one of our pools, by which its warnings are known."""

    __slots__ = ()


class NothingDialled(Exception):  # noqa: N818  it ends an order for a connection
    """psycopg_pool wants to replace a connection; whether there will be another is decided here."""


logging.getLogger("psycopg.pool").addFilter(
    WarningsAbout(PoolName, NothingDialled, ManagedConnection)
)


class ReturnAddress(Protocol):
    """Stands as the pool of a connection: `async with conn` must not close it.

    A connection class whose `close()` puts the connection back calls its `putconn()`.
    """

    async def putconn(self, conn: Any) -> None:
        """Take a connection back from its holder."""


def set_return_address(conn: ManagedConnection, address: ReturnAddress) -> None:
    """Say where a connection belongs."""
    conn._pool = cast("Any", address)  # noqa: SLF001  psycopg has no other way to say so


class DialledConnections:
    """Stands in for the connection class: psycopg_pool calls its `connect()`."""

    def __init__(self) -> None:
        self.waiting: deque[ManagedConnection] = deque()

    async def connect(self, conninfo: str = "", **kwargs: Any) -> ManagedConnection:  # noqa: ARG002
        """Give psycopg_pool the next connection that was made."""
        if not self.waiting:
            raise NothingDialled("no connection is wanted")
        return self.waiting.popleft()


class InnerPool:
    """The `AsyncConnectionPool` of one host, which is given connections that are made already."""

    def __init__(self, name: str) -> None:
        dialled = DialledConnections()
        self._dialled = dialled.waiting
        self._pool: AsyncConnectionPool[Any] = AsyncConnectionPool(
            connection_class=cast("Any", dialled),
            min_size=0,
            max_size=LIMIT,
            open=False,
            name=PoolName(name),
            max_lifetime=FOREVER,
            max_idle=FOREVER,
            reconnect_timeout=0,  # what is closed is not replaced by it
            num_workers=1,  # which waits for nothing
        )

    async def open(self) -> None:
        """Begin."""
        await self._pool.open()

    async def aclose(self, timeout: float) -> None:
        """End, within *timeout* seconds."""
        await self._pool.close(timeout)

    @property
    def size(self) -> int:
        """How many connections it counts."""
        return self._pool.get_stats()["pool_size"]

    async def admit(self, conn: ManagedConnection) -> ManagedConnection:
        """Return a connection that psycopg_pool has lent: *conn*, or one that came before it.

        Raises `PoolClosed`, with *conn* closed.
        """
        self._dialled.append(conn)
        try:
            lent = await self._lend()
        except BaseException:
            if conn in self._dialled:
                self._dialled.remove(conn)
            conn.discard()
            raise
        return lent

    async def _lend(self) -> ManagedConnection:
        """Have psycopg_pool lend the next connection, also if something has ended its worker."""
        while True:
            workers = self._pool._workers  # noqa: SLF001  nobody else watches them
            if workers and all(worker.done() for worker in workers):
                workers.clear()
                self._pool._start_workers()  # noqa: SLF001  the same
            with suppress(PoolTimeout):
                lent: ManagedConnection = await self._pool.getconn(LOOK_AGAIN)
                return lent

    async def dismiss(self, conn: ManagedConnection, timeout: float) -> None:
        """Give back a dropped connection, when the task that uses it has met the error.

        It is closed after *timeout* seconds at the latest.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout), conn.lock:
                pass
        conn.pgconn.finish()
        if not self._pool.closed:
            address = conn._pool  # noqa: SLF001  psycopg has no other way to say so
            conn._pool = self._pool  # noqa: SLF001  it takes back only what it has lent
            try:
                await self._pool.putconn(conn)
            finally:
                # Its program may close it once more, and a class may do that by a return.
                conn._pool = address  # noqa: SLF001  as above
