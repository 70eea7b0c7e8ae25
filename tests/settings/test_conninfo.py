"""From what the user gives, a service and the environment to hosts and parameters."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from pgmoor._core.hosts.host import Host
from pgmoor._core.settings.host_list import hosts_from, hosts_of

from pgmoor import ConfigError, ConnectionManager
from pgmoor._core.settings.conninfo import parse

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pgmoor._core.settings.settings import Settings


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Take away all that the machine's own environment would add."""
    for name in os.environ:
        if name.startswith("PG"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))


def hosts(conninfo: str, **overrides: object) -> list[str]:
    """Return the labels of the hosts that a conninfo names."""
    return [host.label for host in hosts_of(parse(conninfo, overrides))]


def settings(conninfo: str = "", **values: object) -> Settings:
    return ConnectionManager(conninfo, **values)._settings  # type: ignore[arg-type]


def labels(found: Settings) -> list[str]:
    return [host.label for host in found.hosts]


# -- hosts in a conninfo ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("conninfo", "expected"),
    [
        ("", ["local socket:5432"]),
        ("dbname=orders", ["local socket:5432"]),
        ("host=db1", ["db1:5432"]),
        ("host=db1 port=5433", ["db1:5433"]),
        ("host=db1,db2,db3", ["db1:5432", "db2:5432", "db3:5432"]),
        ("host=db1,db2 port=5433", ["db1:5433", "db2:5433"]),
        ("host=db1,db2 port=5433,5434", ["db1:5433", "db2:5434"]),
        ("host=db1,db2 port=,5434", ["db1:5432", "db2:5434"]),
        ("port=5433", ["local socket:5433"]),
        ("postgresql://db1/orders", ["db1:5432"]),
        ("postgres://app@db1:5433/orders", ["db1:5433"]),
        ("postgresql://db1,db2:5433,db3/orders", ["db1:5432", "db2:5433", "db3:5432"]),
        ("postgresql:///orders?host=db1,db2&port=5433", ["db1:5433", "db2:5433"]),
        ("postgresql://", ["local socket:5432"]),
    ],
)
def test_hosts_are_listed_in_the_order_in_which_they_are_named(
    conninfo: str, expected: list[str]
) -> None:
    assert hosts(conninfo) == expected


@pytest.mark.parametrize(
    ("conninfo", "expected"),
    [
        ("host=::1", ["[::1]:5432"]),
        (
            "host=2001:db8::1,2001:db8::2 port=5433,5434",
            ["[2001:db8::1]:5433", "[2001:db8::2]:5434"],
        ),
        ("postgresql://[::1]:5433/orders", ["[::1]:5433"]),
        ("postgresql://[::1],db2:5434/orders", ["[::1]:5432", "db2:5434"]),
    ],
)
def test_ipv6_addresses_are_hosts(conninfo: str, expected: list[str]) -> None:
    assert hosts(conninfo) == expected


@pytest.mark.parametrize(
    ("conninfo", "expected"),
    [
        ("host=/run/postgresql", ["/run/postgresql:5432"]),
        ("host=/run/postgresql port=5433", ["/run/postgresql:5433"]),
        ("host=/run/postgresql,db2", ["/run/postgresql:5432", "db2:5432"]),
        ("host=@abstract", ["@abstract:5432"]),
        ("postgresql://%2Frun%2Fpostgresql/orders", ["/run/postgresql:5432"]),
        ("postgresql:///orders?host=/run/postgresql", ["/run/postgresql:5432"]),
    ],
)
def test_unix_sockets_are_hosts(conninfo: str, expected: list[str]) -> None:
    assert hosts(conninfo) == expected


def test_addresses_stand_beside_names_or_alone() -> None:
    both = hosts_of(parse("host=db1,db2 hostaddr=10.0.0.1,10.0.0.2 port=5433", {}))
    alone = hosts_of(parse("hostaddr=10.0.0.1,::1", {}))

    assert both == (Host(0, "db1", 5433, "10.0.0.1"), Host(1, "db2", 5433, "10.0.0.2"))
    assert [host.label for host in alone] == ["10.0.0.1:5432", "[::1]:5432"]


@pytest.mark.parametrize(
    ("conninfo", "setting"),
    [
        ("host=db1,db2 port=1,2,3", "port"),
        ("host=db1 port=1,2", "port"),
        ("host=db1 port=0", "port"),
        ("host=db1 port=65536", "port"),
        ("host=db1 port=-1", "port"),
        ("host=db1 port=x", "port"),
        ("host=db1 port=" + "9" * 5000, "port"),
        ("host=db1 port=٥٤٣٢", "port"),
        ("host=db1,db2 hostaddr=10.0.0.1", "hostaddr"),
        ("host='db 1'", "host"),
        ("host=a@b", "host"),
        ("host=db..example", "host"),
        (f"host={'x' * 64}.example", "host"),
        ("host", "conninfo"),
        ("host=db1 nonsense=1", "conninfo"),
        ("host='db1", "conninfo"),
        ("postgresql://[::1/orders", "conninfo"),
        ("postgresql://db1/%zz", "conninfo"),
        ("postgresql://db1/%ff", "conninfo"),
        ("postgresql://db1/x?nonsense=1", "conninfo"),
        ("mysql://db1/orders", "conninfo"),
        ("\ud800", "conninfo"),
        ("host=db1\0 port=5433", "conninfo"),
    ],
)
def test_what_cannot_be_read_is_refused_with_the_name_of_the_setting(
    conninfo: str, setting: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        hosts(conninfo)

    assert caught.value.setting == setting


# -- hosts= -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("db1", "db1:5432"),
        ("db1:5433", "db1:5433"),
        ("10.0.0.1:5433", "10.0.0.1:5433"),
        ("[::1]:5433", "[::1]:5433"),
        ("[::1]", "[::1]:5432"),
        ("::1", "[::1]:5432"),
        ("/run/postgresql", "/run/postgresql:5432"),
        ("/run/postgresql:5433", "/run/postgresql:5433"),
    ],
)
def test_an_address_is_a_host_and_perhaps_a_port(address: str, expected: str) -> None:
    assert [host.label for host in hosts_from([address])] == [expected]


@pytest.mark.parametrize(
    "addresses",
    [
        [],
        (),
        "db1",
        ["db1", ""],
        [":5432"],
        ["[]"],
        [None],
        [5432],
        ["db1:x"],
        ["db1:70000"],
        ["[::1]x"],
        ["db 1"],
        ["app@db1"],
        ["app:secret@db1"],
        ["postgresql://app:secret@db1"],
        ["db1,db2"],
        ["db..example"],
        5,
    ],
    ids=repr,
)
def test_an_address_that_is_none_is_refused(addresses: object) -> None:
    with pytest.raises(ConfigError) as caught:
        hosts_from(addresses)  # type: ignore[arg-type]

    assert caught.value.setting in ("host", "hosts", "port")
    assert "secret" not in str(caught.value)


def test_hosts_are_named_in_one_place_only() -> None:
    with pytest.raises(ConfigError, match="hosts: the conninfo names hosts too"):
        settings("host=db1", hosts=["db2"])


def test_a_port_in_the_conninfo_is_not_dropped_in_silence_beside_hosts() -> None:
    try:
        found = settings("port=6000", hosts=["db1", "db2:5433"])
    except ConfigError as error:
        assert error.setting in ("port", "hosts")  # noqa: PT017  either answer is an honest one
    else:
        assert labels(found) == ["db1:6000", "db2:5433"]


# -- precedence ---------------------------------------------------------------------------------


def test_kwargs_win_over_the_conninfo() -> None:
    assert hosts("host=db1 port=5433", host="db2") == ["db2:5433"]


def test_a_keyword_without_value_changes_nothing() -> None:
    assert hosts("host=db1", host=None, port=5433) == ["db1:5433"]


def test_a_keyword_that_libpq_does_not_know_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="'pasword' is not a connection parameter"):
        parse("host=db1", {"pasword": "secret"})


def test_the_environment_names_what_nothing_else_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGHOST", "db1,db2")
    monkeypatch.setenv("PGPORT", "5433,5434")

    assert hosts("dbname=orders") == ["db1:5433", "db2:5434"]
    assert hosts("host=db3 port=5435") == ["db3:5435"]


def test_an_address_in_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGHOSTADDR", "10.0.0.1")

    assert hosts_of(parse("host=db1", {})) == (Host(0, "db1", 5432, "10.0.0.1"),)


def test_an_empty_variable_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGHOST", "")

    assert hosts("") == ["local socket:5432"]


def test_hosts_given_by_the_program_win_over_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PGHOST", "elsewhere")

    assert labels(settings("dbname=orders", hosts=["db1", "db2"])) == ["db1:5432", "db2:5432"]


def test_the_environment_names_target_and_time_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGTARGETSESSIONATTRS", "standby")
    monkeypatch.setenv("PGCONNECT_TIMEOUT", "7")

    found = settings("host=db1,db2")

    assert (found.target.value, found.connect_timeout) == ("standby", 7.0)


@pytest.mark.parametrize("name", ["PGTARGETSESSIONATTRS", "PGSERVICE"])
def test_a_dial_takes_any_server_whatever_the_environment_says(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    # libpq reads it once more when it dials: a probe has to get through to a standby.
    (tmp_path / ".pg_service.conf").write_text("[primary]\ntarget_session_attrs=primary\n")
    monkeypatch.setenv(name, "primary")

    found = settings("host=db1,db2")

    assert found.params_of(found.hosts[0]).get("target_session_attrs") == "any"


def test_a_dial_goes_to_the_host_that_was_named_whatever_the_environment_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # libpq would take the address for that of every host. An empty one is no address to it.
    monkeypatch.setenv("PGHOSTADDR", "10.0.0.1")

    found = settings(hosts=["db1", "db2"])

    assert found.params_of(found.hosts[0]).get("hostaddr") == ""


# -- services -----------------------------------------------------------------------------------

ORDERS = """
# where the orders are
[other]
host=elsewhere

[orders]
host = db1,db2
port=5433
# a comment
user=app

[later]
user=later
"""


@pytest.fixture
def service_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], Path]:
    """Write a service file to which PGSERVICEFILE points."""

    def write(text: str) -> Path:
        path = tmp_path / "services.conf"
        path.write_text(text)
        monkeypatch.setenv("PGSERVICEFILE", str(path))
        return path

    return write


def test_a_service_names_hosts_and_parameters(service_file: Callable[[str], Path]) -> None:
    service_file(ORDERS)

    params = parse("service=orders", {})

    assert params == {"host": "db1,db2", "port": "5433", "user": "app"}


def test_a_service_may_be_named_by_the_environment(
    service_file: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    service_file(ORDERS)
    monkeypatch.setenv("PGSERVICE", "orders")

    assert hosts("") == ["db1:5433", "db2:5433"]


def test_what_is_given_wins_over_the_service_and_that_over_the_environment(
    service_file: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    service_file(ORDERS)
    monkeypatch.setenv("PGHOST", "environment")

    assert hosts("service=orders port=5434") == ["db1:5434", "db2:5434"]


def test_a_service_file_may_be_named_by_the_conninfo(tmp_path: Path) -> None:
    path = tmp_path / "named.conf"
    path.write_text(ORDERS)

    assert hosts("service=orders", servicefile=str(path)) == ["db1:5433", "db2:5433"]


@pytest.mark.parametrize("place", [".pg_service.conf", "system/pg_service.conf"])
def test_service_files_are_looked_for_where_libpq_does(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, place: str
) -> None:
    path = tmp_path / place
    path.parent.mkdir(exist_ok=True)
    path.write_text(ORDERS)
    monkeypatch.setenv("PGSYSCONFDIR", str(tmp_path / "system"))

    assert hosts("service=orders") == ["db1:5433", "db2:5433"]


@pytest.mark.parametrize("service", ["unknown", "order", "ORDERS"])
def test_a_service_that_no_file_holds_is_refused(
    service_file: Callable[[str], Path], service: str
) -> None:
    service_file(ORDERS)

    with pytest.raises(ConfigError) as caught:
        parse(f"service={service}", {})

    assert caught.value.setting == "service"


def test_a_service_without_any_file_is_refused() -> None:
    with pytest.raises(ConfigError, match="no service file holds a section of that name"):
        parse("service=orders", {})


def test_a_service_with_a_parameter_that_libpq_does_not_know_is_refused(
    service_file: Callable[[str], Path],
) -> None:
    service_file("[orders]\nhost=db1\npasword=secret\n")

    with pytest.raises(ConfigError) as caught:
        parse("service=orders", {})

    assert "secret" not in str(caught.value)


def test_a_service_file_that_is_not_utf8_is_read_or_refused(
    service_file: Callable[[str], Path],
) -> None:
    service_file("").write_bytes("[orders]\n# für die Bestellungen\nhost=db1\n".encode("latin-1"))

    try:
        assert hosts("service=orders") == ["db1:5432"]
    except ConfigError as error:
        assert error.setting == "service"  # noqa: PT017  either answer is an honest one
