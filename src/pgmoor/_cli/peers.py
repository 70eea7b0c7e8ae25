"""Other libraries behind one interface: for `pgmoor demo --beside` and for the benchmarks.

`acquire` is the library's own function that lends a connection for an `async with` block and
commits at its end. It is bound once, so that a benchmark's loop calls only the library. All
settings other than a library's defaults are here. A library is imported when it is opened.
"""

from __future__ import annotations

import asyncio
import contextlib
from operator import methodcaller
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import urlencode

from psycopg_pool import AsyncConnectionPool

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager

# Recommended limits against silent peers; seconds, and milliseconds for tcp_user_timeout.
TCP_LIMITS = {
    "connect_timeout": "2",
    "keepalives_idle": "2",
    "keepalives_interval": "1",
    "keepalives_count": "3",
    "tcp_user_timeout": "5000",
}

Address = tuple[str, int]


class Contestant:
    """A library with a pool of `min_size` to `max_size` connections to the first that accepts."""

    has_autocommit = True
    """Whether the library can do the same work in psycopg's autocommit mode."""

    needs: ClassVar[Mapping[str, str]] = {}
    """The modules it needs, and what `pip install` calls each."""

    pool: Any = None
    """What has psycopg_pool's `getconn()` and `putconn()`, if anything has."""

    acquire: Callable[[], AbstractAsyncContextManager[Any]]

    def __init__(
        self,
        servers: Sequence[Address],
        *,
        min_size: int,
        max_size: int,
        autocommit: bool = False,
    ) -> None:
        self.servers = tuple(servers)
        self.min_size = min_size
        self.max_size = max_size
        self.autocommit = autocommit

    async def open(self) -> None:
        raise NotImplementedError

    async def close(self) -> None:
        raise NotImplementedError

    def executor(self, statement: str) -> Callable[[Any], Awaitable[Any]]:
        """Return a function that runs *statement* on a connection that was lent."""
        return methodcaller("execute", statement)

    def operation(self, statement: str) -> Callable[[], Awaitable[Any]]:
        """Return a function that runs *statement* in a transaction."""
        execute = self.executor(statement)

        async def operate() -> None:
            async with self.acquire() as conn:
                await execute(conn)

        return operate

    async def fetch(self, statement: str) -> Sequence[Any]:
        """Return the rows of a query."""
        async with self.acquire() as conn:
            return list(await (await conn.execute(statement)).fetchall())

    @property
    def kwargs(self) -> dict[str, Any]:
        return {"autocommit": True} if self.autocommit else {}

    def conninfo(self, **params: str) -> str:
        """Return all servers as one libpq conninfo that prefers a writable one."""
        hosts = ",".join(host for host, _ in self.servers)
        ports = ",".join(str(port) for _, port in self.servers)
        if len(self.servers) > 1:
            params = {"target_session_attrs": "read-write", **params}
        extra = "".join(f" {key}={value}" for key, value in params.items())
        return f"host={hosts} port={ports} user=postgres dbname=postgres{extra}"

    def uri(self, **params: str) -> str:
        """Return all servers as one URI."""
        hosts = ",".join(f"{host}:{port}" for host, port in self.servers)
        query = f"?{urlencode(params)}" if params else ""
        return f"postgresql://postgres@{hosts}/postgres{query}"


class PsycopgPool(Contestant):
    check: Any = None
    params: ClassVar[dict[str, str]] = {}

    async def open(self) -> None:
        self.pool: AsyncConnectionPool[Any] = AsyncConnectionPool(
            self.conninfo(**self.params),
            min_size=self.min_size,
            max_size=self.max_size,
            kwargs=self.kwargs,
            check=self.check,
            open=False,
        )
        await self.pool.open(wait=True)
        self.acquire = self.pool.connection

    async def close(self) -> None:
        await self.pool.close(timeout=1)


class PsycopgPoolCheck(PsycopgPool):
    check = staticmethod(AsyncConnectionPool.check_connection)


class PsycopgPoolTcp(PsycopgPoolCheck):
    params = TCP_LIMITS


class Asyncpg(Contestant):
    """asyncpg always works in autocommit mode."""

    has_autocommit = False
    needs: ClassVar[Mapping[str, str]] = {"asyncpg": "asyncpg"}

    async def open(self) -> None:
        import asyncpg  # noqa: PLC0415  it may be missing

        params = {"target_session_attrs": "read-write"} if len(self.servers) > 1 else {}
        self.pool = await asyncpg.create_pool(
            self.uri(**params), min_size=self.min_size, max_size=self.max_size
        )
        self.acquire = self.pool.acquire

    async def fetch(self, statement: str) -> Sequence[Any]:
        async with self.acquire() as conn:
            rows: list[Any] = await conn.fetch(statement)
        return rows

    async def close(self) -> None:
        import asyncpg  # noqa: PLC0415  it may be missing

        with contextlib.suppress(OSError, asyncpg.PostgresError):
            self.pool.terminate()


class SqlAlchemy(Contestant):
    """An engine on psycopg; one round trip before each checkout."""

    has_autocommit = False
    driver = "psycopg"
    needs: ClassVar[Mapping[str, str]] = {
        "sqlalchemy": "sqlalchemy[asyncio]",
        "greenlet": "sqlalchemy[asyncio]",
    }

    async def open(self) -> None:
        from sqlalchemy.ext.asyncio import create_async_engine  # noqa: PLC0415  it may be missing

        hosts = [("host", f"{host}:{port}") for host, port in self.servers]
        attrs = [("target_session_attrs", "read-write")] if len(hosts) > 1 else []
        engine = create_async_engine(
            f"postgresql+{self.driver}://postgres@/postgres?{urlencode(hosts + attrs)}",
            pool_pre_ping=True,
            pool_size=self.min_size,
            max_overflow=self.max_size - self.min_size,
        )
        self.engine = engine
        async with contextlib.AsyncExitStack() as stack:
            for _ in range(self.min_size):
                await stack.enter_async_context(engine.connect())
        self.acquire = engine.begin

    def executor(self, statement: str) -> Callable[[Any], Awaitable[Any]]:
        from sqlalchemy import text  # noqa: PLC0415  it may be missing

        return methodcaller("execute", text(statement))

    async def fetch(self, statement: str) -> Sequence[Any]:
        execute = self.executor(statement)
        async with self.acquire() as conn:
            return list((await execute(conn)).all())

    async def close(self) -> None:
        await self.engine.dispose()


PEERS: Mapping[str, type[Contestant]] = {
    "psycopg_pool": PsycopgPool,
    "psycopg_pool+check": PsycopgPoolCheck,
    "psycopg_pool+check+tcp": PsycopgPoolTcp,
    "asyncpg": Asyncpg,
    "sqlalchemy": SqlAlchemy,
}


async def bounded(work: Coroutine[Any, Any, Any], seconds: float) -> BaseException | None:
    """Wait for *work* for *seconds*, even if it ignores its cancellation; return how it failed."""
    task = asyncio.ensure_future(work)
    await asyncio.wait([task], timeout=seconds)
    if not task.done():
        task.cancel()
        return TimeoutError(f"not done within {seconds:g} s")
    # Asked for, so that asyncio does not log it.
    return asyncio.CancelledError() if task.cancelled() else task.exception()
