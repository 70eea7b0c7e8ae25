"""Host names: several addresses, dead ones, unknown names, and a resolver that hangs."""

from __future__ import annotations

import asyncio
import socket
import threading
from contextlib import asynccontextmanager, suppress
from time import monotonic
from typing import TYPE_CHECKING, Any

import pytest
from psycopg import AsyncConnection, errors

from pgmoor import ConnectionManager, NoHostAvailable
from pgmoor._core.dialling.dns import needs_resolving, resolve
from pgmoor.testing import Cluster, FaultProxy
from servers import port_of
from support import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

Answer = tuple[str, ...] | OSError | threading.Event


class Names:
    """Stands in for the system's resolver for the names that a test sets."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {}
        self.lookups: list[str] = []
        self.threads: set[int] = set()
        self._real = socket.getaddrinfo

    def getaddrinfo(self, host: Any, port: Any, *args: Any, **kwargs: Any) -> Any:
        if host not in self.answers:
            return self._real(host, port, *args, **kwargs)
        self.lookups.append(host)
        self.threads.add(threading.get_ident())
        answer = self.answers[host]
        if isinstance(answer, threading.Event):
            answer.wait(30)
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        if isinstance(answer, OSError):
            raise answer
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (name, port)) for name in answer]


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Iterator[Names]:
    found = Names()
    monkeypatch.setattr(socket, "getaddrinfo", found.getaddrinfo)
    yield found
    for answer in found.answers.values():
        if isinstance(answer, threading.Event):
            answer.set()


class Own(AsyncConnection[Any]):
    """Has a `connect()` of its own, which leaves the name alone."""

    @classmethod
    async def connect(cls, conninfo: str = "", **kwargs: Any) -> Any:
        return await super().connect(conninfo, **kwargs)


any_class = pytest.mark.parametrize("kind", [AsyncConnection, Own])


@asynccontextmanager
async def manager_of(*hosts: str, **settings: Any) -> AsyncIterator[ConnectionManager]:
    values = {"min_size": 1, "max_size": 4, "timeout": 5.0, **settings}
    manager = ConnectionManager(
        "user=postgres dbname=postgres sslmode=disable", hosts=list(hosts), **values
    )
    with pytest.warns(UserWarning, match="does not prove"):
        await manager.open()
    try:
        yield manager
    finally:
        await manager.close(timeout=1)


def test_only_host_names_are_resolved() -> None:
    for name in ("db1", "db.example.org", "localhost", "10.0.0.256"):
        assert needs_resolving(name), name
    for name in ("", "/run/postgresql", "@abstract", "10.0.0.1", "::1", "fe80::1%lo"):
        assert not needs_resolving(name), name


async def test_resolving_returns_addresses_or_fails_for_an_unknown_name() -> None:
    assert "127.0.0.1" in await resolve("localhost", 5432)
    for name in ("no-such-host.invalid", "x" * 64, "\udcff"):
        with pytest.raises(socket.gaierror):
            await resolve(name, 5432)


@any_class
async def test_a_first_address_that_drops_packets_costs_a_head_start(
    kind: Any, alone: Cluster, names: Names
) -> None:
    # Every address of 127.0.0.0/8 is this machine's; a proxy drops what is sent to the first.
    with FaultProxy(alone[0].host, alone[0].port, listen_host="127.0.0.2") as dead:
        dead.blackhole()
        names.answers["db"] = ("127.0.0.2", "127.0.0.1")
        with FaultProxy(alone[0].host, alone[0].port, listen_port=dead.port):
            began = monotonic()
            async with manager_of(f"db:{dead.port}", connection_class=kind) as manager:
                assert await port_of(manager) == alone[0].port
                took = monotonic() - began
                began = monotonic()
                await manager.drain()
                assert await port_of(manager) == alone[0].port
                later = monotonic() - began

    assert took < 2.0
    assert later < 1.0


@any_class
async def test_a_first_address_that_refuses_costs_nothing(
    kind: Any, alone: Cluster, names: Names
) -> None:
    names.answers["db"] = ("127.0.0.3", "127.0.0.1")

    async with manager_of(f"db:{alone[0].port}", connection_class=kind) as manager:
        assert await port_of(manager) == alone[0].port


async def test_an_unknown_name_leaves_the_other_hosts_usable(pair: Cluster, names: Names) -> None:
    names.answers["gone"] = socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    began = monotonic()
    async with manager_of("gone:5432", f"127.0.0.1:{pair[0].port}") as manager:
        assert await port_of(manager) == pair[0].port
        took = monotonic() - began
        failure = manager.snapshot().hosts[0].failure

    assert took < 2.0
    assert failure == "its name was not resolved: Name or service not known"


async def test_a_resolver_that_hangs_leaves_the_other_hosts_and_the_loops_executor_usable(
    pair: Cluster, names: Names
) -> None:
    names.answers["slow"] = threading.Event()

    began = monotonic()
    async with manager_of("slow:5432", f"127.0.0.1:{pair[0].port}") as manager:
        assert await port_of(manager) == pair[0].port
        took = monotonic() - began
        await until(lambda: manager.snapshot().hosts[0].failure is not None)
        failure = manager.snapshot().hosts[0].failure
        # However often the host is probed, one lookup is under way.
        assert names.lookups == ["slow"]
        assert await asyncio.to_thread(lambda: "free") == "free"

    assert took < 2.0
    assert failure == "its name was not resolved within 1 s"


async def test_a_name_is_resolved_again_after_a_failure(alone: Cluster, names: Names) -> None:
    names.answers["db"] = socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")

    async with manager_of(f"db:{alone[0].port}", timeout=10) as manager:
        with pytest.raises(NoHostAvailable, match="Temporary failure"):
            async with manager.connection(timeout=0.3):
                pass
        names.answers["db"] = ("127.0.0.1",)
        assert await port_of(manager) == alone[0].port


async def test_a_name_that_moves_to_another_server_is_followed(
    pair: Cluster, names: Names, proxies: Callable[[Cluster], list[FaultProxy]]
) -> None:
    """The primary's name is moved to the promoted standby, as many services do."""
    first, second = pair.nodes
    with (
        FaultProxy(first.host, first.port, listen_host="127.0.0.4") as one,
        FaultProxy(second.host, second.port, listen_host="127.0.0.5", listen_port=one.port),
    ):
        names.answers["db"] = ("127.0.0.4",)
        async with manager_of(f"db:{one.port}", target="primary", timeout=20) as manager:
            assert await port_of(manager) == first.port
            await first.kill()
            await second.promote()
            names.answers["db"] = ("127.0.0.5",)
            async with asyncio.timeout(20):
                while True:
                    with suppress(errors.OperationalError):  # it broke meanwhile
                        if await port_of(manager) == second.port:
                            break
