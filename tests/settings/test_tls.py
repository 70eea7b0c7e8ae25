"""The warning about hosts that need not prove their identity."""

from __future__ import annotations

import warnings
from typing import Any

import pytest

from pgmoor import ConnectionManager, InsecureTransportWarning
from pgmoor._core.settings.tls import warn_of_weak_tls


def warned(conninfo: str = "", **settings: Any) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        manager = ConnectionManager(conninfo, **settings)
        warn_of_weak_tls(manager._settings, manager._made_at)
    assert all(item.category is InsecureTransportWarning for item in caught)
    return [str(item.message) for item in caught]


def test_there_is_no_warning_about_local_hosts_or_where_servers_prove_their_identity() -> None:
    for conninfo in (
        *("", "host=/run/postgresql", "host=@abstract", "host=localhost", "host=127.0.0.1"),
        *("host=127.1.2.3", "host=::1", "host=db1 hostaddr=127.0.0.1"),
        *("host=db1 sslmode=verify-full", "host=db1 sslrootcert=system"),
        "host=localhost,db1 sslmode=verify-full sslrootcert=ca.pem",
    ):
        assert warned(conninfo) == [], conninfo


def test_one_warning_names_the_mode_the_remedy_and_only_the_exposed_hosts() -> None:
    for conninfo, mode in (
        ("host=db1", "prefer"),
        ("host=10.0.0.1 sslmode=disable", "disable"),
        ("host=db1 sslmode=require", "require"),
        ("host=db1 sslmode=verify-ca", "verify-ca"),
        ("host=localhost,db1", "prefer"),
        ("host=localhost hostaddr=10.0.0.1", "prefer"),
    ):
        (words,) = warned(conninfo)
        assert f"sslmode={mode} does not prove" in words
        assert "sslmode=verify-full" in words
    (words,) = warned(hosts=["127.0.0.1", "db1", "db2:5433"])
    assert "that db1:5432, db2:5433 is your server" in words


def test_the_environment_counts_as_for_libpq(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGSSLMODE", "verify-full")
    assert warned("host=db1") == []
    monkeypatch.setenv("PGSSLMODE", "require")
    assert "sslmode=require" in warned("host=db1")[0]


async def test_opening_the_manager_warns_and_the_category_can_be_ignored() -> None:
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
