"""The libraries that are compared, each behind the same interface.

`acquire` is the library's own function that lends a connection for an `async with` block and
commits at its end. It is bound once, so that a benchmark's loop calls only the library.
`executor()` returns a function that runs a statement on such a connection. All settings other than
a library's defaults are here.
"""

from __future__ import annotations

import contextlib
from functools import partial
from operator import methodcaller
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import asyncpg
from hasql.driver.asyncpg import PoolManager as AsyncpgHasql
from hasql.driver.psycopg3 import PoolManager as PsycopgHasql
from psycopg_pool import AsyncConnectionPool
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from pgmoor import ConnectionManager

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
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


class Pgmoor(Contestant):
    settings: dict[str, Any] = {}  # noqa: RUF012 - read only

    async def open(self) -> None:
        self.manager = ConnectionManager(
            self.uri(),
            min_size=self.min_size,
            max_size=self.max_size,
            kwargs=self.kwargs,
            **self.settings,
        )
        await self.manager.open(wait=True)
        self.acquire = self.manager.connection
        self.pool = self.manager

    async def close(self) -> None:
        await self.manager.close()


class PgmoorRun(Pgmoor):
    """With `run()` and a key for each transaction, where the others lend a connection."""

    async def open(self) -> None:
        await super().open()
        await self.manager.install()

    def operation(self, statement: str) -> Callable[[], Awaitable[Any]]:
        return partial(self.manager.run, self.executor(statement), key=True)


class PgmoorQuick(Pgmoor):
    settings = {"health_interval": 0.1}  # noqa: RUF012 - read only


class PsycopgPool(Contestant):
    check: Any = None
    params: dict[str, str] = {}  # noqa: RUF012 - read only

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

    async def open(self) -> None:
        params = {"target_session_attrs": "read-write"} if len(self.servers) > 1 else {}
        self.pool = await asyncpg.create_pool(
            self.uri(**params), min_size=self.min_size, max_size=self.max_size
        )
        self.acquire = self.pool.acquire

    async def close(self) -> None:
        with contextlib.suppress(OSError, asyncpg.PostgresError):
            self.pool.terminate()


class SqlAlchemy(Contestant):
    """An engine on psycopg; one round trip before each checkout."""

    has_autocommit = False
    driver = "psycopg"

    async def open(self) -> None:
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
        return methodcaller("execute", text(statement))

    async def close(self) -> None:
        await self.engine.dispose()


class SqlAlchemyAsyncpg(SqlAlchemy):
    driver = "asyncpg"


class Hasql(Contestant):
    """hasql makes a pool for each server, with one additional connection for its probe.

    On psycopg it gives connections back without a commit, so this class commits.
    """

    manager_class: Any = PsycopgHasql

    async def open(self) -> None:
        sizes = {"min_size": self.min_size, "max_size": self.max_size}
        self.manager = self.manager_class(self.uri(), pool_factory_kwargs=self.pool_kwargs(sizes))
        await self.manager.ready(masters_count=1, replicas_count=0)
        lends_committed = self.autocommit or self.manager_class is AsyncpgHasql
        self.acquire = self.manager.acquire_master if lends_committed else self._committing

    def pool_kwargs(self, sizes: dict[str, Any]) -> dict[str, Any]:
        return {**sizes, "kwargs": self.kwargs}

    @contextlib.asynccontextmanager
    async def _committing(self) -> AsyncIterator[Any]:
        async with self.manager.acquire_master() as conn:
            yield conn
            await conn.commit()

    async def close(self) -> None:
        await self.manager.close()


class HasqlAsyncpg(Hasql):
    has_autocommit = False
    manager_class = AsyncpgHasql

    def pool_kwargs(self, sizes: dict[str, Any]) -> dict[str, Any]:
        return sizes


CONTESTANTS: dict[str, type[Contestant]] = {
    "psycopg_pool": PsycopgPool,
    "psycopg_pool+check": PsycopgPoolCheck,
    "psycopg_pool+check+tcp": PsycopgPoolTcp,
    "pgmoor": Pgmoor,
    "pgmoor-run": PgmoorRun,
    "pgmoor-0.1": PgmoorQuick,
    "asyncpg": Asyncpg,
    "sqlalchemy": SqlAlchemy,
    "sqlalchemy-asyncpg": SqlAlchemyAsyncpg,
    "hasql": Hasql,
    "hasql-asyncpg": HasqlAsyncpg,
}
