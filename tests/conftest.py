"""Clusters, made once for the whole run and reset for each test, proxies and managers."""

from __future__ import annotations

import os
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest
import pytest_asyncio

from pgmoor import ConnectionManager
from pgmoor.testing import Cluster, FaultProxy
from support import Recorder, reset

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("pgmoor's own tests")
    group.addoption("--soak-seconds", type=float, default=60.0, help="how long the soak runs")
    group.addoption("--soak-seed", type=int, default=None, help="a seed, to repeat a schedule")
    group.addoption(
        "--soak-loop",
        choices=["asyncio", "uvloop", "eager"],
        default=None,
        help="the event loop instead of the seed's; eager: asyncio's with an eager task factory",
    )

    group.addoption(
        "--thorough",
        action="store_true",
        help="also run the tests that take long, and try more examples of each property",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Choose how many examples hypothesis tries."""
    examples = 300 if config.getoption("--thorough") else 40
    hypothesis.settings.register_profile("pgmoor", max_examples=examples, deadline=None)
    hypothesis.settings.load_profile("pgmoor")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect the soak, and what takes long, unless -m names them or --thorough asks for it."""
    named = str(config.getoption("-m"))
    wanted = {"thorough"} if config.getoption("--thorough") else set()
    absent = {mark for mark in ("soak", "thorough") if mark not in named} - wanted
    left_out = [item for item in items if any(item.get_closest_marker(mark) for mark in absent)]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]


@pytest.fixture
def bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Hide the machine's own PG* variables and the files in its home directory from libpq."""
    for name in os.environ:
        if name.startswith("PG"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))


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
    """One server, reset to its first state."""
    await reset(_alone)
    return _alone


@pytest.fixture
async def pair(_pair: Cluster) -> Cluster:
    """A primary and a streaming standby, reset to their first state."""
    await reset(_pair)
    return _pair


@pytest.fixture
def proxies() -> Iterator[Callable[[Cluster], list[FaultProxy]]]:
    """Put a proxy in front of each server of a cluster."""
    with ExitStack() as stack:
        yield lambda cluster: [
            stack.enter_context(FaultProxy(node.host, node.port)) for node in cluster.nodes
        ]


@pytest.fixture
async def moor() -> AsyncIterator[Callable[..., Any]]:
    """Open managers over servers or proxies; the end of the test closes them.

    A manager's events are in its attribute `recorder`.
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
