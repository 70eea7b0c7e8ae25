"""Passwords that change, that are wrong, and that callables return."""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager
from time import monotonic
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from pgmoor import ConfigError, ConnectionManager, NoHostAvailable
from pgmoor._core.util import asynctools
from pgmoor.testing import Cluster, FaultProxy
from support import fill, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from pgmoor.testing import Node


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def guarded() -> AsyncIterator[Cluster]:
    """One server that demands passwords."""
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
    """Returns the current password, and counts the calls."""

    def __init__(self, password: str) -> None:
        self.password = password
        self.calls = 0
        self.sealed = False

    def __call__(self) -> str:
        self.calls += 1
        if self.sealed:
            raise OSError("sealed")
        return self.password


async def test_no_caller_fails_when_a_password_is_rotated(server: Node) -> None:
    vault = Vault("first")
    async with manager_of(server, password=vault, min_size=2) as manager:
        held = await manager.getconn()
        vault.password = "second"
        await server.sql("alter role app password 'second'")

        await manager.drain()
        conns = await fill(manager, 3)

        assert len(conns) == 3
        assert await (await held.execute("select 1")).fetchone() == (1,)
        await manager.putconn(held)


async def test_a_kept_password_that_is_rejected_is_fetched_again(
    server: Node,
) -> None:
    vault = Vault("first")
    async with manager_of(server, password=vault) as manager:
        await manager.wait()
        # The password changes while the last one is kept.
        vault.password = "second"
        await server.sql("alter role app password 'second'")
        calls = vault.calls

        await asyncio.gather(*(works(manager) for _ in range(4)))
        conns = await fill(manager, 4)

        assert len(conns) == 4
        assert vault.calls > calls


async def test_a_wrong_password_is_reported_and_tried_once_in_an_interval(server: Node) -> None:
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


async def test_an_open_pool_tries_a_wrong_password_once_in_an_interval(server: Node) -> None:
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


async def test_a_corrected_password_is_tried_after_the_interval(
    server: Node, retry_interval: Callable[[float], None]
) -> None:
    retry_interval(1.0)
    async with manager_of(server, password=Vault("second"), timeout=30) as manager:
        await until(lambda: manager.snapshot().hosts[0].status == "rejected")
        await server.sql("alter role app password 'second'")

        assert await works(manager)


async def test_when_one_login_succeeds_again_all_waiting_dials_are_tried(
    server: Node, retry_interval: Callable[[float], None]
) -> None:
    retry_interval(2.0)
    vault = Vault("first")
    async with manager_of(server, password=vault, min_size=3, max_size=3) as manager:
        await until(lambda: manager.snapshot().pool.size == 3)
        await server.sql("alter role app password 'second'")
        assert manager._runtime is not None
        pool = manager._runtime.queue.pool
        assert pool is not None
        for conn in tuple(pool.connections):  # the probe keeps its own
            await server.sql(f"select pg_terminate_backend({conn.info.backend_pid}, 5000)")
        before = rejections(server)
        await manager.check()
        await until(lambda: rejections(server) > before)
        await asyncio.sleep(0.3)  # until all of the pool's workers have been rejected
        vault.password = "second"

        await until(lambda: manager.snapshot().pool.size > 0)
        assert await until(lambda: manager.snapshot().pool.size == 3) < 1


# -- callables that fail ------------------------------------------------------------------------


async def test_a_callable_that_returns_no_password_is_named_and_its_error_not_quoted(
    server: Node,
) -> None:
    def fail() -> str:
        raise ConnectionError("the vault at secret.example is sealed")

    async def hang() -> str:
        await asyncio.Event().wait()
        return ""

    async def outcome(password: Any) -> str:
        limit = {"connect_timeout": 0.2}
        async with manager_of(server, password=password, timeout=1.0, kwargs=limit) as manager:
            with pytest.raises(NoHostAvailable) as caught:
                await works(manager)
        return str(caught.value)

    failing, hanging, *others = await asyncio.gather(
        outcome(fail), outcome(hang), *(outcome(lambda value=v: value) for v in (b"x", None, 7))
    )

    assert "the callable for password raised ConnectionError" in failing
    assert "sealed" not in failing
    assert "the callable for password returned nothing within 0.2 s" in hanging
    kinds = ("a value of type bytes", "None", "a value of type int")
    for other, kind in zip(others, kinds, strict=True):
        assert f"password: its callable returned {kind}; let it return a string" in other


@pytest.mark.parametrize(
    ("error", "words"),
    [(asyncio.CancelledError, "was cancelled"), (BaseException, "raised BaseException")],
)
async def test_a_callable_that_raises_a_base_exception_ends_neither_probe_nor_pool(
    server: Node,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: type[BaseException],
    words: str,
) -> None:
    monkeypatch.setattr(asynctools, "KEPT_FOR", -1.0)
    broken = False

    def password() -> str:
        if broken:
            raise error
        return "first"

    async with manager_of(server, password=password, timeout=5) as manager:
        await works(manager)
        broken = True
        await server.sql(
            "select pg_terminate_backend(pid, 5000) from pg_stat_activity where usename = 'app'"
        )
        await manager.check()
        assert await works(manager)  # with the last known password
        running = " ".join(task.get_name() for task in asyncio.all_tasks())

        assert f"the callable for password {words}" in caplog.text
        assert "pgmoor-probe-" in running
        assert "-background" in running


async def test_open_raises_what_a_callable_for_the_conninfo_raises_and_can_be_called_again() -> (
    None
):
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


async def test_while_a_callable_fails_the_last_known_password_is_used(
    server: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asynctools, "KEPT_FOR", -1.0)
    vault = Vault("first")
    async with manager_of(server, password=vault, min_size=2) as manager:
        assert await works(manager)
        vault.sealed = True
        calls = vault.calls

        await manager.drain()
        conns = await fill(manager, 4)

        assert len(conns) == 4
        assert vault.calls > calls


async def test_a_callable_that_failed_at_the_start_is_called_again_soon(server: Node) -> None:
    vault = Vault("first")
    vault.sealed = True
    async with manager_of(server, password=vault, timeout=10) as manager:
        await until(lambda: manager.snapshot().hosts[0].status == "down")
        vault.sealed = False
        began = monotonic()
        assert await works(manager)

    assert monotonic() - began < 3.0  # while the manager searches, every second
