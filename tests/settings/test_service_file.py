"""Services: a section of a connection service file as parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pgmoor import ConfigError, ConnectionManager
from pgmoor._core.settings.conninfo import parse

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

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
PARAMETERS = {"host": "db1,db2", "port": "5433", "user": "app"}


@pytest.fixture
def write(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], Path]:
    """Write a service file to which PGSERVICEFILE points."""

    def write(text: str) -> Path:
        path = tmp_path / "services.conf"
        path.write_text(text)
        monkeypatch.setenv("PGSERVICEFILE", str(path))
        return path

    return write


def test_a_service_is_named_by_the_conninfo_or_the_environment(
    write: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    write(ORDERS)

    assert parse("service=orders", {}) == PARAMETERS
    monkeypatch.setenv("PGSERVICE", "orders")
    assert parse("", {}) == PARAMETERS


def test_the_conninfo_wins_over_the_service_and_the_service_over_the_environment(
    write: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    write(ORDERS)
    monkeypatch.setenv("PGHOST", "environment")

    assert parse("service=orders port=5434", {}) == {**PARAMETERS, "port": "5434"}


def test_a_service_file_may_be_named_by_the_conninfo(tmp_path: Path) -> None:
    path = tmp_path / "named.conf"
    path.write_text(ORDERS)

    assert parse("service=orders", {"servicefile": str(path)}) == PARAMETERS


@pytest.mark.parametrize("place", [".pg_service.conf", "system/pg_service.conf"])
def test_service_files_are_found_where_libpq_looks(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, place: str
) -> None:
    path = tmp_path / place
    path.parent.mkdir(exist_ok=True)
    path.write_text(ORDERS)
    monkeypatch.setenv("PGSYSCONFDIR", str(tmp_path / "system"))

    assert parse("service=orders", {}) == PARAMETERS


def test_a_user_without_a_home_directory_can_use_the_systems_service_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr("pathlib.Path.home", no_home)
    with pytest.raises(ConfigError, match="no service file that can be read holds"):
        parse("service=orders", {})
    (tmp_path / "pg_service.conf").write_text(ORDERS)
    monkeypatch.setenv("PGSYSCONFDIR", str(tmp_path))

    assert parse("service=orders", {}) == PARAMETERS


@pytest.mark.parametrize("service", ["unknown", "order", "ORDERS"])
def test_a_service_that_no_file_holds_is_refused(
    write: Callable[[str], Path], service: str
) -> None:
    write(ORDERS)

    with pytest.raises(ConfigError, match="no service file that can be read holds"):
        parse(f"service={service}", {})


@pytest.mark.parametrize("place", ["/dev/zero", "/proc/self/mem", "/", "/nowhere", "\udcff"])
def test_a_service_file_that_is_no_regular_file_is_refused(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGSERVICEFILE", place)

    with pytest.raises(ConfigError) as caught:
        ConnectionManager("service=orders")
    assert caught.value.setting == "service"


def test_a_parameter_that_libpq_does_not_know_is_refused_without_its_value(
    write: Callable[[str], Path],
) -> None:
    write("[orders]\nhost=db1\npasword=secret\n")

    with pytest.raises(ConfigError, match="'pasword' is not a connection parameter") as caught:
        parse("service=orders", {})

    assert "secret" not in str(caught.value)


def test_a_service_file_that_is_not_utf8_is_read_where_its_section_is(
    write: Callable[[str], Path],
) -> None:
    write("").write_bytes("[orders]\n# für die Bestellungen\nhost=db1\n".encode("latin-1"))
    assert parse("service=orders", {}) == {"host": "db1"}
    write("").write_bytes("[orders]\nhost=db1\nuser=für\n".encode("latin-1"))
    with pytest.raises(ConfigError) as caught:
        parse("service=orders", {})
    assert caught.value.setting == "service"
