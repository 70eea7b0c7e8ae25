"""The warning about servers that need not prove who they are."""

from __future__ import annotations

import warnings
from typing import Any

import pytest

from pgmoor import ConnectionManager, InsecureTransportWarning
from pgmoor._core.settings.tls import warn_of_weak_tls


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PGSSLMODE", "PGSSLROOTCERT", "PGHOST", "PGHOSTADDR"):
        monkeypatch.delenv(name, raising=False)


def warned(conninfo: str = "", **settings: Any) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warn_of_weak_tls(ConnectionManager(conninfo, **settings)._settings)
    assert all(item.category is InsecureTransportWarning for item in caught)
    return [str(item.message) for item in caught]


@pytest.mark.parametrize(
    "conninfo",
    [
        "",
        "host=/run/postgresql",
        "host=@abstract",
        "host=localhost",
        "host=127.0.0.1",
        "host=127.1.2.3",
        "host=::1",
        "host=db1 hostaddr=127.0.0.1",
        "host=db1 sslmode=verify-full",
        "host=db1 sslrootcert=system",
        "host=localhost,db1 sslmode=verify-full sslrootcert=ca.pem",
    ],
)
def test_there_is_nothing_to_say_where_nobody_listens_or_the_server_proves_itself(
    conninfo: str,
) -> None:
    assert warned(conninfo) == []


@pytest.mark.parametrize(
    ("conninfo", "mode"),
    [
        ("host=db1", "prefer"),
        ("host=10.0.0.1 sslmode=disable", "disable"),
        ("host=db1 sslmode=require", "require"),
        ("host=db1 sslmode=verify-ca", "verify-ca"),
        ("host=localhost,db1", "prefer"),
        ("host=localhost hostaddr=10.0.0.1", "prefer"),
    ],
)
def test_anything_less_is_warned_about_once_for_all_hosts(conninfo: str, mode: str) -> None:
    (words,) = warned(conninfo)

    assert f"sslmode={mode} does not prove" in words
    assert "sslmode=verify-full" in words


def test_only_the_exposed_hosts_are_named() -> None:
    (words,) = warned(hosts=["127.0.0.1", "db1", "db2:5433"])

    assert "that db1:5432, db2:5433 is the server" in words


def test_the_environment_counts_as_for_libpq(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGSSLMODE", "verify-full")
    assert warned("host=db1") == []
    monkeypatch.setenv("PGSSLMODE", "require")
    assert "sslmode=require" in warned("host=db1")[0]


async def test_it_comes_when_the_manager_is_opened_and_can_be_silenced() -> None:
    manager = ConnectionManager("host=192.0.2.1", min_size=1)
    with pytest.warns(InsecureTransportWarning):
        await manager.open()
    await manager.close(timeout=0.1)

    manager = ConnectionManager("host=192.0.2.1", min_size=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", InsecureTransportWarning)
        await manager.open()
    await manager.close(timeout=0.1)
