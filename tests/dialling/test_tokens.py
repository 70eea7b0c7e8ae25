"""Passwords for one host, and tokens that expire."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from pgmoor import ConfigError, ConnectionManager, Host, Token
from pgmoor._core.dialling import credentials
from pgmoor._core.hosts.failures import Failure, FailureKind
from pgmoor._core.settings.calls import CallableFailed
from pgmoor._core.settings.password import Password
from pgmoor._core.util import asynctools
from pgmoor.testing import Cluster
from support import fill, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from pgmoor.testing import FaultProxy


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def guarded() -> AsyncIterator[Cluster]:
    """One server that demands passwords, with a role `app` whose password is "first"."""
    async with Cluster(standbys=0, auth="scram-sha-256") as cluster:
        await cluster[0].sql("create role app login password 'first'")
        yield cluster


def manager_of(*servers: Any, **settings: Any) -> ConnectionManager:
    hosts = [f"{server.host}:{server.port}" for server in servers]
    return ConnectionManager("user=app dbname=postgres", hosts=hosts, min_size=1, **settings)


def failure_of(manager: ConnectionManager) -> str | None:
    return manager.snapshot().hosts[0].failure


def in_seconds(seconds: float) -> datetime:
    return datetime.now(UTC) + timedelta(seconds=seconds)


# -- for one host -------------------------------------------------------------------------------


async def test_a_callable_that_takes_the_host_is_called_for_each_and_its_answers_are_kept_apart(
    guarded: Cluster,
    proxies: Callable[[Cluster], list[FaultProxy]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(asynctools, "KEPT_FOR", -1.0)
    (good,), (bad,) = proxies(guarded), proxies(guarded)
    asked: list[Host] = []

    async def token(host: Host) -> Token:
        asked.append(host)
        value = "first" if host.port == good.port else "of another host"
        return Token(value, in_seconds(900))

    async with manager_of(bad, good, max_size=4, password=token, target="any") as manager:
        await until(lambda: manager.snapshot().hosts[0].status == "rejected")
        assert len(await fill(manager, 4)) == 4

    # Once for each, and once more for the one that was rejected.
    assert sorted(asked, key=lambda host: host.port) == sorted(
        [Host(bad.host, bad.port)] * 2 + [Host(good.host, good.port)], key=lambda host: host.port
    )


# -- that expire --------------------------------------------------------------------------------


class Clock:
    """The time, moved by hand, and a source that returns tokens by it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = monotonic()
        self.answers = 0
        self.sealed = False
        monkeypatch.setattr(credentials, "monotonic", lambda: self.now)
        monkeypatch.setattr(asynctools, "KEPT_FOR", -1.0)

    async def call(self, lives: float) -> Password:
        if self.sealed:
            raise CallableFailed(SEALED)
        self.answers += 1
        expires_at = datetime.now(UTC) + timedelta(seconds=lives)
        return Password.of(Token(f"token {self.answers}", expires_at), self.now)


SEALED = Failure(FailureKind.SOURCE, "sealed")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@pytest.mark.parametrize(("lives", "early"), [(900.0, 60.0), (100.0, 10.0)])
async def test_a_token_is_kept_until_shortly_before_it_expires(
    clock: Clock, lives: float, early: float
) -> None:
    source = credentials.Source(partial(clock.call, lives), "test")

    async def asked() -> str:
        return (await source.get(fresh=False)).value.reveal()

    assert await asked() == await asked() == "token 1"
    clock.now += lives - early - 0.5
    assert await asked() == "token 1"
    clock.now += 1
    assert await asked() == "token 2"
    assert (await source.get(fresh=True)).value.reveal() == "token 3"  # a server has rejected it


async def test_while_the_callable_fails_a_token_is_used_until_it_expires(clock: Clock) -> None:
    source = credentials.Source(partial(clock.call, 900.0), "test")
    await source.get(fresh=False)
    clock.sealed = True

    clock.now += 899
    assert (await source.get(fresh=False)).value.reveal() == "token 1"
    clock.now += 2
    with pytest.raises(CallableFailed):
        await source.get(fresh=False)


async def test_a_rejected_token_is_replaced_before_it_expires(guarded: Cluster) -> None:
    values = ["revoked", "first"]

    def token() -> Token:
        return Token(values.pop(0), in_seconds(900))

    async with manager_of(guarded[0], password=token) as manager:
        assert len(await fill(manager, 1)) == 1
    assert not values


# -- callables that are of no use ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "source", "remedy"),
    [
        ("password", lambda host, port: f"{host}{port}", "let it take none, or the host"),
        ("password", lambda *, host: str(host), "let it take none, or the host"),
        ("conninfo", lambda host: f"host={host}", "let it take none"),
        ("kwargs", lambda host: {"user": str(host)}, "let it take none"),
        ("hosts", lambda host: [str(host)], "let it take none"),
    ],
)
def test_a_callable_that_takes_other_arguments_is_refused_at_once(
    name: str, source: Any, remedy: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        ConnectionManager(**{name: source})
    assert caught.value.setting == name
    assert caught.value.remedy == remedy


def test_an_optional_argument_gets_no_host() -> None:
    def password(name: str = "app") -> str:
        return name

    callables = ConnectionManager("host=db1", password=password)._settings.callables
    assert callables.password is not None
    assert not callables.password.takes_host


async def test_what_a_callable_for_one_host_does_wrong_is_said_of_that_host() -> None:
    def fail(host: Host) -> str:
        raise ConnectionError(f"the vault of {host} is sealed")

    nothing: Any = lambda host: None  # noqa: E731
    naive: Any = lambda host: Token("secret", datetime(2026, 1, 1))  # noqa: DTZ001, E731
    for password, words in (
        (fail, "the callable for password, called with 127.0.0.1:1, raised ConnectionError"),
        (nothing, "password: its callable returned None; let it return a string, or a Token"),
        (naive, "password: the expires_at of its Token is not an aware datetime; give one"),
    ):
        manager = ConnectionManager("host=127.0.0.1 port=1 user=app", password=password)
        async with manager:
            await until(lambda manager=manager: failure_of(manager) is not None)  # type: ignore[misc]
            error = failure_of(manager)
        assert error is not None
        assert words in error
        assert "sealed" not in error


def test_a_token_shows_no_secret_and_takes_nothing_else() -> None:
    token = Token("a secret", datetime(2026, 1, 1, tzinfo=UTC))
    assert "a secret" not in repr(token)
    assert "2026" in repr(token)
    for value, at in ((b"bytes", token.expires_at), ("text", 1790000000), ("text", None)):
        with pytest.raises(ConfigError, match="password"):
            Token(value, at)  # type: ignore[arg-type]
