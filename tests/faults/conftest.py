"""The event loops of fault tests, a cluster of three servers, and two ways to one server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from pgmoor.testing import Cluster, FaultProxy
from support import loop_factories, reset

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator


def pytest_asyncio_loop_factories(item: pytest.Item) -> dict[str, Callable[..., Any]]:
    return loop_factories(item)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def _trio() -> AsyncIterator[Cluster]:
    settings = {"log_statement": "all", "log_line_prefix": "%m [%p] app=%a "}
    async with Cluster(standbys=2, settings=settings) as cluster:
        yield cluster


@pytest.fixture
async def trio(_trio: Cluster) -> Cluster:
    """A primary and two standbys, as they were when they were made; they log every statement."""
    await reset(_trio)
    return _trio


@pytest.fixture
def equals(alone: Cluster) -> Iterator[list[FaultProxy]]:
    """Two proxies before one server, which are equals: one cluster, one timeline."""
    node = alone[0]
    with FaultProxy(node.host, node.port) as first, FaultProxy(node.host, node.port) as second:
        yield [first, second]
