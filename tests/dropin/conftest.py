"""The same tests for two classes: psycopg_pool's, which sets the standard, and ours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from psycopg_pool import AsyncConnectionPool, AsyncNullConnectionPool

from pgmoor import ConnectionManager
from pgmoor._core.manager.as_pool import ManagerPool
from servers import Watched

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from pgmoor.testing import Cluster


class ManagerAsPool(ManagerPool[Any]):
    """A manager as `as_pool()` gives it to libraries: each call is a call of the manager."""

    def __init__(self, conninfo: Any, **settings: Any) -> None:
        manager: ConnectionManager[Any] = ConnectionManager(conninfo, **settings)
        vars(self).update(vars(manager.as_pool()))


def null_manager(conninfo: str, **settings: Any) -> ManagerAsPool:
    """Return a manager that keeps no connection, as AsyncNullConnectionPool does."""
    return ManagerAsPool(conninfo, min_size=0, max_idle=0, **settings)


BOTH = {"psycopg_pool": AsyncConnectionPool, "pgmoor": ManagerAsPool}
NULL = {"psycopg_pool": AsyncNullConnectionPool, "pgmoor": null_manager}


@pytest.fixture(params=BOTH)
def pool_class(request: pytest.FixtureRequest) -> Any:
    """AsyncConnectionPool, then a ConnectionManager as one."""
    return BOTH[request.param]


@pytest.fixture(params=NULL)
def null_class(request: pytest.FixtureRequest) -> Any:
    """AsyncNullConnectionPool, then a manager without idle connections."""
    return NULL[request.param]


@pytest.fixture
async def watched(alone: Cluster) -> Watched:
    """A server on which a pool's connections can be counted; it has none yet."""
    found = Watched(alone)
    await found.end(*await found.pids())
    return found


@pytest.fixture
async def make(watched: Watched) -> AsyncIterator[Callable[..., Any]]:
    """Make pools of any class over the watched server; the end of the test closes them."""
    pools: list[Any] = []

    def build(pool_class: Any, *, conninfo: Any = None, **settings: Any) -> Any:
        values = {"open": False, "configure": watched.mark, **settings}
        pool = pool_class(watched.conninfo if conninfo is None else conninfo, **values)
        pools.append(pool)
        return pool

    yield build
    for pool in pools:
        await pool.close(timeout=1)


@pytest.fixture
def pool(make: Callable[..., Any], pool_class: Any) -> Callable[..., Any]:
    """Make pools of the class under test, and open them."""

    async def build(**settings: Any) -> Any:
        made = make(pool_class, **settings)
        await made.open()
        return made

    return build
