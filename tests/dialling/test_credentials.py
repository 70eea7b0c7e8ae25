"""Passwords that change, that are wrong, and that somebody else has to be asked for."""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager
from time import monotonic
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from pgmoor import ConfigError, ConnectionManager, NoHostAvailable
from pgmoor._core.dialling import login_throttle as gate
from pgmoor._core.dialling.login_throttle import RETRY_INTERVAL
from pgmoor._core.util import asynctools as shared
from pgmoor._core.util.asynctools import KEPT_FOR
from pgmoor.testing import Cluster, FaultProxy
from support import fill, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from pgmoor.testing import Node


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def guarded() -> AsyncIterator[Cluster]:
    """One server that asks for passwords."""
    async with Cluster(standbys=0, auth="scram-sha-256") as cluster:
        yield cluster


@pytest.fixture
async def server(guarded: Cluster) -> Node:
    """A server with a role `app` whose password is "first"."""
    await guarded.reset()
    await guarded[0].sql("drop role if exists app")
    await guarded[0].sql("create role app login password 'first'")
    return guarded[0]


@asynccontextmanager
async def manager_of(server: Node, **settings: Any) -> AsyncIterator[ConnectionManager]:
    values = {"min_size": 1, "max_size": 4, "timeout": 5.0, **settings}
    manager = ConnectionManager(
        "user=app dbname=postgres", hosts=[f"{server.host}:{server.port}"], **values
    )
    try:
        await manager.open()
        yield manager
    finally:
        await manager.close(timeout=1)


async def works(manager: ConnectionManager) -> bool:
    async with manager.connection() as conn:
        return (await (await conn.execute("select 1")).fetchone()) == (1,)


def rejections(server: Node) -> int:
    return server.log_file.read_text(errors="replace").count("password authentication failed")


class Vault:
    """Keeps the current password, and counts who asked for it."""

    def __init__(self, password: str) -> None:
        self.password = password
        self.asked = 0
        self.sealed = False

    def ask(self) -> str:
        self.asked += 1
        if self.sealed:
            raise OSError("sealed")
        return self.password

    async def ask_slowly(self) -> str:
        await asyncio.sleep(0)
        return self.ask()


@pytest.mark.parametrize("way", ["value", "function", "coroutine function", "kwargs", "conninfo"])
async def test_a_password_is_taken_from_wherever_it_is(server: Node, way: str) -> None:
    vault = Vault("first")
    address = f"host={server.host} port={server.port} user=app dbname=postgres"
    ways: dict[str, dict[str, Any]] = {
        "value": {"conninfo": address, "password": "first"},
        "function": {"conninfo": address, "password": vault.ask},
        "coroutine function": {"conninfo": address, "password": vault.ask_slowly},
        "kwargs": {
            "kwargs": lambda: {
                "host": server.host,
                "port": server.port,
                "user": "app",
                "dbname": "postgres",
                "password": vault.ask(),
            }
        },
        "conninfo": {"conninfo": lambda: f"{address} password={vault.ask()}"},
    }

    async with ConnectionManager(min_size=1, timeout=5, **ways[way]) as manager:
        assert await works(manager)
        assert [host.host for host in manager.snapshot().hosts] == [f"{server.host}:{server.port}"]
    assert vault.asked > 0 or way == "value"


async def test_a_rotated_password_fails_nobody(server: Node) -> None:
    vault = Vault("first")
    async with manager_of(server, password=vault.ask, min_size=2) as manager:
        held = await manager.getconn()
        vault.password = "second"
        await server.sql("alter role app password 'second'")

        await manager.drain()
        conns = await fill(manager, 3)

        assert len(conns) == 3
        assert await (await held.execute("select 1")).fetchone() == (1,)
        await manager.putconn(held)


async def test_a_password_rotated_between_asking_and_dialling_is_asked_for_again(
    server: Node,
) -> None:
    vault = Vault("first")
    async with manager_of(server, password=vault.ask) as manager:
        await manager.wait()
        # The answer is kept for a moment, in which the password changes.
        vault.password = "second"
        await server.sql("alter role app password 'second'")
        asked = vault.asked

        await asyncio.gather(*(works(manager) for _ in range(4)))
        conns = await fill(manager, 4)

        assert len(conns) == 4
        assert vault.asked > asked


async def test_a_wrong_password_is_named_and_not_tried_again_and_again(server: Node) -> None:
    before = rejections(server)
    async with manager_of(server, password="wrong", timeout=1.0) as manager:
        results = await asyncio.gather(*(works(manager) for _ in range(8)), return_exceptions=True)

        for result in results:
            assert isinstance(result, NoHostAvailable)
            assert "password authentication failed" in str(result)
            assert "wrong" not in str(result)
        assert rejections(server) - before == 1


async def test_a_wrong_password_is_not_tried_at_each_address_of_a_name(
    server: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    with FaultProxy(server.host, server.port, listen_host="127.0.0.2") as proxy:
        addresses = [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, proxy.port))
            for address in ("127.0.0.2", "127.0.0.3")
        ]
        with FaultProxy(
            server.host, server.port, listen_host="127.0.0.3", listen_port=proxy.port
        ) as other:
            monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: addresses)
            with pytest.warns(UserWarning, match="does not prove"):
                manager = ConnectionManager(
                    "user=app dbname=postgres password=wrong sslmode=disable",
                    hosts=[f"db.example:{other.port}"],
                    open=True,
                )
            before = rejections(server)
            await until(lambda: manager.snapshot().hosts[0].status == "rejected")
            await manager.close()

    assert rejections(server) - before == 1


async def test_an_open_pool_does_not_hammer_either(server: Node) -> None:
    async with manager_of(server, password="first", timeout=1.0) as manager:
        await manager.wait()
        before = rejections(server)
        await server.sql("alter role app password 'second'")
        await manager.drain()
        tried = rejections(server)

        with pytest.raises(NoHostAvailable):
            await asyncio.gather(*(works(manager) for _ in range(8)))

        # Three dials may be under way when the first is rejected.
        assert before < rejections(server) <= max(tried, before) + 3


async def test_a_corrected_password_is_found_out(server: Node) -> None:
    vault = Vault("second")
    async with manager_of(server, password=vault.ask, timeout=RETRY_INTERVAL + 10) as manager:
        await until(lambda: manager.snapshot().hosts[0].status == "rejected")
        await server.sql("alter role app password 'second'")

        assert await works(manager)


async def test_who_gets_in_takes_the_others_along(
    server: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate, "RETRY_INTERVAL", 2.0)
    vault = Vault("first")
    async with manager_of(server, password=vault.ask, min_size=3, max_size=3) as manager:
        await until(lambda: manager.snapshot().pool.size == 3)
        await server.sql("alter role app password 'second'")
        machine = manager._runtime
        assert machine is not None
        assert machine.desk.pool is not None
        for conn in tuple(machine.desk.pool.connections):  # the probe keeps its own
            await server.sql(f"select pg_terminate_backend({conn.info.backend_pid}, 5000)")
        before = rejections(server)
        await manager.check()
        await until(lambda: rejections(server) > before)
        await asyncio.sleep(0.3)  # until every one of the pool's workers has been turned away
        vault.password = "second"

        await until(lambda: manager.snapshot().pool.size > 0)
        assert await until(lambda: manager.snapshot().pool.size == 3) < 1


async def test_a_source_that_fails_is_named_without_its_words(server: Node) -> None:
    def fail() -> str:
        raise ConnectionError("the vault at secret.example is sealed")

    async with manager_of(server, password=fail, timeout=0.5) as manager:
        with pytest.raises(NoHostAvailable) as caught:
            await works(manager)

    assert "the callable for password raised ConnectionError" in str(caught.value)
    assert "sealed" not in str(caught.value)


@pytest.mark.parametrize(
    ("error", "words"),
    [(asyncio.CancelledError, "was cancelled"), (BaseException, "raised BaseException")],
)
async def test_a_source_whose_own_work_is_cancelled_ends_neither_probe_nor_pool(
    server: Node,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: type[BaseException],
    words: str,
) -> None:
    monkeypatch.setattr(shared, "KEPT_FOR", -1.0)
    broken = False

    def ask() -> str:
        if broken:
            raise error
        return "first"

    async with manager_of(server, password=ask, timeout=0.5) as manager:
        await works(manager)
        broken = True
        await server.sql(
            "select pg_terminate_backend(pid, 5000) from pg_stat_activity where usename = 'app'"
        )
        await manager.check()
        assert await works(manager)  # with what the callable gave before
        running = " ".join(task.get_name() for task in asyncio.all_tasks())

        assert f"the callable for password {words}" in caplog.text
        assert "pgmoor-probe-" in running
        assert [f"-worker-{number}" in running for number in range(3)] == [True] * 3


async def test_a_source_that_hangs_is_named_and_bounded(server: Node) -> None:
    async def hang() -> str:
        await asyncio.Event().wait()
        return ""

    async with manager_of(
        server, password=hang, timeout=1.5, kwargs={"connect_timeout": 1}
    ) as manager:
        with pytest.raises(NoHostAvailable) as caught:
            await works(manager)

    assert "the callable for password gave nothing within 1 s" in str(caught.value)


@pytest.mark.parametrize("value", [b"first", None, 7])
async def test_a_source_that_gives_something_else_is_named(server: Node, value: Any) -> None:
    async with manager_of(server, password=lambda: value, timeout=0.5) as manager:
        with pytest.raises(NoHostAvailable, match="its callable returned something else"):
            await works(manager)


async def test_what_a_conninfo_callable_raises_reaches_the_one_who_opens() -> None:
    answers: list[Any] = [OSError("no vault"), "nonsense", "host=127.0.0.1 port=1 user=app"]

    def conninfo() -> str:
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, Exception):
            raise answer
        return str(answer)

    manager = ConnectionManager(conninfo)
    with pytest.raises(OSError, match="no vault"):
        await manager.open()
    with pytest.raises(ConfigError):
        await manager.open()
    await manager.open()
    assert [host.host for host in manager.snapshot().hosts] == ["127.0.0.1:1"]
    await manager.close()


async def test_a_source_that_fails_for_a_while_costs_nothing(server: Node) -> None:
    vault = Vault("first")
    async with manager_of(server, password=vault.ask, min_size=2) as manager:
        assert await works(manager)
        vault.sealed = True
        await asyncio.sleep(KEPT_FOR)  # until what it gave is too old to be given without asking

        await manager.drain()
        conns = await fill(manager, 4)

        assert len(conns) == 4


async def test_a_source_that_failed_at_the_start_is_asked_again_soon(server: Node) -> None:
    vault = Vault("first")
    vault.sealed = True
    async with manager_of(server, password=vault.ask, timeout=10) as manager:
        await until(lambda: manager.snapshot().hosts[0].status == "down")
        vault.sealed = False
        began = monotonic()
        assert await works(manager)

    assert monotonic() - began < 3.0  # the reconnect coroutine asks at most a second apart
