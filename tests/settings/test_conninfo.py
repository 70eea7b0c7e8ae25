"""From a conninfo, `hosts=`, `kwargs` and the environment to hosts and parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pgmoor import ConfigError, ConnectionManager
from pgmoor._core.hosts.host import Host
from pgmoor._core.settings.conninfo import parse
from pgmoor._core.settings.host_list import hosts_from, hosts_of

if TYPE_CHECKING:
    from pathlib import Path

    from pgmoor._core.settings.settings import Settings


def hosts(conninfo: str, **overrides: object) -> list[str]:
    """Return the labels of the hosts that a conninfo names."""
    return [host.label for host in hosts_of(parse(conninfo, overrides))]


def settings(conninfo: str = "", **values: object) -> Settings:
    return ConnectionManager(conninfo, **values)._settings  # type: ignore[arg-type]


def labels(found: Settings) -> list[str]:
    return [host.label for host in found.hosts]


# -- hosts in a conninfo ------------------------------------------------------------------------


def test_hosts_are_listed_in_the_order_in_which_a_conninfo_or_uri_names_them() -> None:
    expected = {
        "": ["local socket:5432"],
        "dbname=orders": ["local socket:5432"],
        "port=5433": ["local socket:5433"],
        "host=db1": ["db1:5432"],
        "host=db1 port=5433": ["db1:5433"],
        "host=db1,db2,db3": ["db1:5432", "db2:5432", "db3:5432"],
        "host=db1,db2 port=5433": ["db1:5433", "db2:5433"],
        "host=db1,db2 port=5433,5434": ["db1:5433", "db2:5434"],
        "host=db1,db2 port=,5434": ["db1:5432", "db2:5434"],
        "host=db1,db1 port=5432,5433": ["db1:5432", "db1:5433"],
        "postgresql://": ["local socket:5432"],
        "postgresql://db1/orders": ["db1:5432"],
        "postgres://app@db1:5433/orders": ["db1:5433"],
        "postgresql://db1,db2:5433,db3/orders": ["db1:5432", "db2:5433", "db3:5432"],
        "postgresql:///orders?host=db1,db2&port=5433": ["db1:5433", "db2:5433"],
    }

    assert {conninfo: hosts(conninfo) for conninfo in expected} == expected


def test_a_host_may_be_an_ipv6_address_or_a_unix_socket() -> None:
    expected = {
        "host=::1": ["[::1]:5432"],
        "host=2001:db8::1,2001:db8::2 port=1,2": ["[2001:db8::1]:1", "[2001:db8::2]:2"],
        "postgresql://[::1]:5433/orders": ["[::1]:5433"],
        "postgresql://[::1],db2:5434/orders": ["[::1]:5432", "db2:5434"],
        "host=/run/postgresql": ["/run/postgresql:5432"],
        "host=/run/postgresql,db2 port=5433": ["/run/postgresql:5433", "db2:5433"],
        "host=@abstract": ["@abstract:5432"],
        "postgresql://%2Frun%2Fpostgresql/orders": ["/run/postgresql:5432"],
        "postgresql:///orders?host=/run/postgresql": ["/run/postgresql:5432"],
    }

    assert {conninfo: hosts(conninfo) for conninfo in expected} == expected


def test_addresses_go_with_names_or_stand_alone() -> None:
    both = hosts_of(parse("host=db1,db2 hostaddr=10.0.0.1,10.0.0.2 port=5433", {}))

    assert both == (Host(0, "db1", 5433, "10.0.0.1"), Host(1, "db2", 5433, "10.0.0.2"))
    assert hosts("hostaddr=10.0.0.1,::1") == ["10.0.0.1:5432", "[::1]:5432"]


def test_a_conninfo_that_can_t_be_used_is_refused_with_the_name_of_the_setting() -> None:
    refused = {
        "port": (
            *("host=db1,db2 port=1,2,3", "host=db1 port=1,2", "host=db1 port=0"),
            *("host=db1 port=65536", "host=db1 port=-1", "host=db1 port=x"),
            *(f"host=db1 port={'9' * 5000}", "host=db1 port=٥٤٣٢"),
        ),
        "hostaddr": ("host=db1,db2 hostaddr=10.0.0.1",),
        "host": ("host='db 1'", "host=a@b", "host=db..example", f"host={'x' * 64}.example"),
        "conninfo": (
            *("host", "host=db1 nonsense=1", "host='db1", "postgresql://[::1/orders"),
            *("postgresql://db1/%zz", "postgresql://db1/%ff", "postgresql://db1/x?nonsense=1"),
            *("mysql://db1/orders", "\ud800", "host=db1\0 port=5433"),
        ),
    }
    for setting, conninfos in refused.items():
        for conninfo in conninfos:
            with pytest.raises(ConfigError) as caught:
                hosts(conninfo)
            assert caught.value.setting == setting, conninfo


# -- hosts= -------------------------------------------------------------------------------------


def test_an_address_in_hosts_is_a_host_and_perhaps_a_port() -> None:
    expected = {
        "db1": "db1:5432",
        "db1:5433": "db1:5433",
        "10.0.0.1:5433": "10.0.0.1:5433",
        "[::1]:5433": "[::1]:5433",
        "[::1]": "[::1]:5432",
        "::1": "[::1]:5432",
        "/run/postgresql": "/run/postgresql:5432",
        "/run/postgresql:5433": "/run/postgresql:5433",
    }

    assert {address: hosts_from([address])[0].label for address in expected} == expected


@pytest.mark.parametrize(
    "addresses",
    [
        *([], (), "db1", 5, [None], [5432]),
        *(["db1", ""], [":5432"], ["[]"], ["db1:x"], ["db1:70000"], ["[::1]x"], ["db 1"]),
        *(["app@db1"], ["app:secret@db1"], ["postgresql://app:secret@db1"]),
        *(["db1,db2"], ["db..example"]),
    ],
    ids=repr,
)
def test_what_is_no_list_of_addresses_is_refused(addresses: object) -> None:
    with pytest.raises(ConfigError) as caught:
        hosts_from(addresses)  # type: ignore[arg-type]

    assert caught.value.setting in ("host", "hosts", "port")
    assert "secret" not in str(caught.value)


def test_hosts_are_named_in_one_place_only() -> None:
    with pytest.raises(ConfigError, match="hosts: the conninfo names hosts too"):
        settings("host=db1", hosts=["db2"])


def test_a_port_in_the_conninfo_is_the_default_for_hosts() -> None:
    assert labels(settings("port=6000", hosts=["db1", "db2:5433"])) == ["db1:6000", "db2:5433"]


# -- precedence ---------------------------------------------------------------------------------


def test_kwargs_with_a_value_win_over_the_conninfo() -> None:
    assert hosts("host=db1 port=5433", host="db2") == ["db2:5433"]
    assert hosts("host=db1", host=None, port=5433) == ["db1:5433"]


def test_a_keyword_that_libpq_does_not_know_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="'pasword' is not a connection parameter"):
        parse("host=db1", {"pasword": "secret"})


def test_the_environment_counts_for_what_the_conninfo_does_not_give(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PGHOST", "")
    assert hosts("") == ["local socket:5432"]
    monkeypatch.setenv("PGHOST", "db1,db2")
    monkeypatch.setenv("PGPORT", "5433,5434")
    monkeypatch.setenv("PGTARGETSESSIONATTRS", "standby")
    monkeypatch.setenv("PGCONNECT_TIMEOUT", "7")
    found = settings("dbname=orders")

    assert labels(found) == ["db1:5433", "db2:5434"]
    assert (found.target.value, found.connect_timeout) == ("standby", 7.0)
    assert hosts("host=db3 port=5435") == ["db3:5435"]
    assert labels(settings("dbname=orders port=5432", hosts=["db4"])) == ["db4:5432"]


def test_an_address_in_the_environment_goes_with_the_conninfos_host_and_not_with_hosts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PGHOSTADDR", "10.0.0.1")

    assert hosts_of(parse("host=db1", {})) == (Host(0, "db1", 5432, "10.0.0.1"),)
    # libpq would use the address for every host. An empty one is no address to it.
    found = settings(hosts=["db1", "db2"])
    assert found.params_of(found.hosts[0]).get("hostaddr") == ""


@pytest.mark.parametrize("name", ["PGTARGETSESSIONATTRS", "PGSERVICE"])
def test_a_dial_accepts_any_server_whatever_the_environment_says(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    # libpq reads the environment once more when it dials: a probe must get through to a standby.
    (tmp_path / ".pg_service.conf").write_text("[primary]\ntarget_session_attrs=primary\n")
    monkeypatch.setenv(name, "primary")

    found = settings("host=db1,db2")

    assert found.params_of(found.hosts[0]).get("target_session_attrs") == "any"
