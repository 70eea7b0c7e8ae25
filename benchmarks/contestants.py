"""The libraries that are compared, each behind the interface of `pgmoor._cli.peers.Contestant`.

Those that `pgmoor demo --beside` knows are there. All settings other than a library's defaults are
there or here.
"""

from __future__ import annotations

import contextlib
from functools import partial
from typing import TYPE_CHECKING, Any

from hasql.driver.asyncpg import PoolManager as AsyncpgHasql
from hasql.driver.psycopg3 import PoolManager as PsycopgHasql

from pgmoor import ConnectionManager
from pgmoor._cli.peers import PEERS, Contestant, PsycopgPool, SqlAlchemy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

__all__ = ["CONTESTANTS", "INTERVALS", "Contestant", "Hasql", "Pgmoor", "PsycopgPool"]


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


def pgmoor_at(interval: float) -> type[Pgmoor]:
    """Return pgmoor with this `health_interval`, in seconds."""
    return type("PgmoorAt", (Pgmoor,), {"settings": {"health_interval": interval}})


INTERVALS = (0.1, 0.25, 0.5, 1.0, 2.0)


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
    **PEERS,
    "pgmoor": Pgmoor,
    "pgmoor-run": PgmoorRun,
    **{f"pgmoor-{interval:g}": pgmoor_at(interval) for interval in INTERVALS},
    "sqlalchemy-asyncpg": SqlAlchemyAsyncpg,
    "hasql": Hasql,
    "hasql-asyncpg": HasqlAsyncpg,
}
