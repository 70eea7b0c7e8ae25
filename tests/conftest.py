"""Clusters made once for the whole run and reset for each test, and what goes with them."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from pgmoor import ConnectionManager
from pgmoor.testing import Cluster, FaultProxy
from support import Recorder

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("soak")
    group.addoption("--soak-seconds", type=float, default=60.0, help="how long -m soak runs")
    group.addoption("--soak-seed", type=int, default=None, help="a seed, to repeat its schedule")
    group.addoption("--soak-loop", choices=["asyncio", "uvloop"], default="asyncio")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave the soak out unless -m names it."""
    if "soak" in str(config.getoption("-m")):
        return
    left_out = [item for item in items if item.get_closest_marker("soak")]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def _alone() -> AsyncIterator[Cluster]:
    async with Cluster(standbys=0) as cluster:
        yield cluster


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def _pair() -> AsyncIterator[Cluster]:
    async with Cluster(standbys=1) as cluster:
        yield cluster


@pytest.fixture
async def alone(_alone: Cluster) -> Cluster:
    """One server, as it was when it was made."""
    await _alone.reset()
    await _prepare(_alone)
    return _alone


@pytest.fixture
async def pair(_pair: Cluster) -> Cluster:
    """A primary and a streaming standby, as they were when they were made."""
    await _pair.reset()
    await _prepare(_pair)
    return _pair


async def _prepare(cluster: Cluster) -> None:
    await cluster[0].sql("create table if not exists work (id text, node int default 0)")
    await cluster[0].sql("truncate work")
    for node in cluster.nodes[1:]:
        await node.wait_for("select to_regclass('work') is not null")


@pytest.fixture
def proxies() -> Iterator[Callable[[Cluster], list[FaultProxy]]]:
    """Put a proxy before each server of a cluster."""
    with ExitStack() as stack:
        yield lambda cluster: [
            stack.enter_context(FaultProxy(node.host, node.port)) for node in cluster.nodes
        ]


@pytest.fixture
async def moor() -> AsyncIterator[Callable[..., Any]]:
    """Open a manager over servers or proxies; it is closed at the end of the test.

    The manager's events are in `manager.recorder`.
    """
    managers: list[ConnectionManager] = []

    async def make(*servers: Any, **settings: Any) -> ConnectionManager:
        values = {"min_size": 4, "max_size": 8, **settings}
        manager = ConnectionManager(
            "user=postgres dbname=postgres",
            hosts=[f"{server.host}:{server.port}" for server in servers],
            **values,
        )
        manager.recorder = Recorder(manager)  # type: ignore[attr-defined]
        managers.append(manager)
        await manager.open()
        return manager

    yield make
    for manager in managers:
        await manager.close(timeout=1)
