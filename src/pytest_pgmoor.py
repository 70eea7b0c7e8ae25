"""Fixtures for pytest: `postgres_cluster`, `fault_proxy` and `manager`.

pytest loads this module in every run, so it imports pgmoor only when a test uses a fixture. The
fixtures are synchronous: they work with pytest-asyncio, anyio's plugin and synchronous tests.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

    from pgmoor import ConnectionManager
    from pgmoor.testing import Cluster, FaultProxy, Node

STANDBYS = "postgres_standbys"
MARKER = "postgres_cluster"


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("pgmoor", "PostgreSQL servers for tests (pgmoor)")
    group.addoption(
        "--postgres-standbys",
        type=int,
        help="number of standbys of postgres_cluster if a test has no marker for it (default: 1)",
    )
    parser.addini(STANDBYS, "the same as --postgres-standbys", default="1")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers",
        f"{MARKER}(standbys=1, **arguments): arguments of pgmoor.testing.Cluster for the fixture"
        " of this name",
    )


@pytest.fixture(scope="session")
def _postgres_clusters() -> Iterator[dict[str, Cluster]]:
    """Keep the clusters of this run, by their arguments."""
    clusters: dict[str, Cluster] = {}
    yield clusters
    for cluster in clusters.values():
        _run(cluster.close())


@pytest.fixture
def postgres_cluster(
    request: pytest.FixtureRequest, _postgres_clusters: dict[str, Cluster]
) -> Cluster:
    """Provide a primary and its standbys (`pgmoor.testing.Cluster`), empty and streaming.

    It has one standby unless `--postgres-standbys`, `postgres_standbys` in pytest's settings or
    `@pytest.mark.postgres_cluster(standbys=2, synchronous=True)` changes that. For each set of
    arguments, servers are started once per run and reset for each test.
    """
    from pgmoor.testing import Cluster  # noqa: PLC0415  see the module's docstring
    from pgmoor.testing._emptying import empty  # noqa: PLC0415  the same

    config = request.config
    standbys = config.getoption("--postgres-standbys")
    arguments: dict[str, Any] = {
        "standbys": int(config.getini(STANDBYS)) if standbys is None else standbys
    }
    marker = request.node.get_closest_marker(MARKER)
    if marker is not None:
        arguments |= dict(zip(["standbys"], marker.args, strict=False)) | marker.kwargs
    key = repr(sorted(arguments.items()))
    cluster = _postgres_clusters.get(key)
    if cluster is None:
        cluster = Cluster(**arguments)
        _run(cluster.open())
        _postgres_clusters[key] = cluster
    else:
        _run(empty(cluster))
    return cluster


@pytest.fixture
def fault_proxy() -> Iterator[Callable[..., FaultProxy]]:
    """Start a `pgmoor.testing.FaultProxy` in front of a node, or a host and port.

    `proxy = fault_proxy(postgres_cluster[0])`. It is closed at the end of the test.
    """
    from pgmoor.testing import FaultProxy  # noqa: PLC0415  see the module's docstring

    with ExitStack() as stack:

        def make(server: Node | str, port: int | None = None, **settings: Any) -> FaultProxy:
            if isinstance(server, str):
                host, number = server, port if port is not None else 5432
            else:
                host, number = server.host, server.port
            return stack.enter_context(FaultProxy(host, number, **settings))

        yield make


@pytest.fixture
def manager(request: pytest.FixtureRequest) -> Callable[..., ConnectionManager]:
    """Make a `ConnectionManager` for nodes or proxies, by default those of `postgres_cluster`.

    `async with manager(min_size=1) as moor: ...`. Positional arguments are the servers in order,
    keywords are the manager's settings. The manager is not open yet.
    """
    from pgmoor import ConnectionManager  # noqa: PLC0415  see the module's docstring

    def make(*servers: Node | FaultProxy, **settings: Any) -> ConnectionManager:
        chosen = servers or request.getfixturevalue("postgres_cluster").nodes
        settings.setdefault("hosts", [f"{server.host}:{server.port}" for server in chosen])
        return ConnectionManager("user=postgres dbname=postgres", **settings)

    return make


def _run(work: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine on an event loop of its own, in a thread: the tests may run theirs."""
    import asyncio  # noqa: PLC0415  see the module's docstring
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415  the same

    with ThreadPoolExecutor(1) as pool:
        pool.submit(asyncio.run, work).result()
