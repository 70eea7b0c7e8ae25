"""Settings that are refused: neither the error nor a traceback with variables shows a secret."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest

from canary import CANARY, traces
from pgmoor import ConfigError, ConnectionManager, NoHostAvailable
from pgmoor.testing._ports import free_port
from witness import Witness, rendered, rendered_by_rich, shown

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

HALF = quote(CANARY, "")[:12]  # ends within an escape
# A password that is not encoded, or badly, in every place of a URI.
URIS: list[dict[str, Any]] = [
    {"conninfo": f"postgresql://app:{CANARY}@db1/orders"},
    {"conninfo": f"postgresql://app:{CANARY}@db1,db2:5433/orders?sslmode=require"},
    {"conninfo": f"postgresql://app:{HALF}%@db1/orders"},
    {"conninfo": f"postgresql://app:{HALF}%zz@db1/orders"},
    {"conninfo": f"postgresql://db1/orders?password={CANARY}&{CANARY}"},
    {"conninfo": f"postgresql://db1/orders?{CANARY}=x"},
    {"conninfo": f"postgresql://[{CANARY}/orders"},
    {"conninfo": f"postgresql://db1:{quote(CANARY, '')}/orders"},
    {"conninfo": f"postgresql://{quote(CANARY, '')}/orders"},
    {"conninfo": f"postgresql+psycopg://app:{CANARY}@db1/orders"},
    {"conninfo": f"app:{CANARY}@db1/orders"},
    {"conninfo": CANARY},
]
CONNINFOS: list[dict[str, Any]] = [
    {"conninfo": f"host=db1 password={CANARY}"},
    {"conninfo": f"host=db1 password='{CANARY}"},
    {"conninfo": f"host=db1 password={quote(CANARY)} load_balance_hosts=random"},
    {"conninfo": f"host=db1 pasword='{quote(CANARY)}'"},
    {"conninfo": f"host=db1 {quote(CANARY)}=x"},
    {"conninfo": f"host=db1 port='{quote(CANARY)}'"},
    {"conninfo": f"host='{quote(CANARY)}'"},
    {"conninfo": f"host=db1 hostaddr='{quote(CANARY)}'"},
    {"conninfo": f"host=db1 sslmode='{quote(CANARY)}'"},
    {"conninfo": f"host=db1 channel_binding='{quote(CANARY)}'"},
    {"conninfo": f"host=db1 keepalives='{quote(CANARY)}'"},
    {"conninfo": f"host=db1 connect_timeout='{quote(CANARY)}'"},
    {"conninfo": f"host=db1 target_session_attrs='{quote(CANARY)}'"},
    {"conninfo": f"host=db1 password={quote(CANARY)}\0"},
    {"conninfo": f"service={quote(CANARY)}"},
]
# An argument in the wrong place, or of the wrong type.
ARGUMENTS: list[dict[str, Any]] = [
    {"conninfo": CANARY.encode()},
    {"kwargs": {"password": CANARY.encode()}},
    {"kwargs": {"password": CANARY + "\0"}},
    {"kwargs": {"password": CANARY + "\ud800"}},
    {"kwargs": {"password": [CANARY]}},
    {"kwargs": {CANARY: "password"}},
    {"kwargs": {"password": CANARY, "autocommit": CANARY}},
    {"kwargs": {"password": CANARY, "sslmode": "verify"}},
    {"kwargs": CANARY},
    {"kwargs": [CANARY]},
    {"password": CANARY.encode()},
    {"password": CANARY + "\0"},
    {"password": CANARY, "hosts": "db1"},
    {"password": CANARY, "timeout": -1},
    {"password": CANARY, "open": True},
    {"hosts": [f"app:{CANARY}@db1"]},
    {"hosts": [f"postgresql://app:{CANARY}@db1/orders"]},
    {"hosts": [f"db1:{CANARY}"]},
    {"hosts": CANARY},
]


@pytest.mark.parametrize(
    "refused", [URIS, CONNINFOS, ARGUMENTS], ids=["URIs", "conninfos", "arguments"]
)
def test_neither_an_error_nor_its_traceback_shows_what_was_given(
    refused: list[dict[str, Any]],
) -> None:
    for given in refused:
        with pytest.raises(ConfigError) as caught:
            ConnectionManager(**given)

        assert caught.value.__traceback__ is not None
        assert traces(*rendered(caught.value)) == [], given


def test_half_a_password_is_not_taken_for_a_host_or_a_database() -> None:
    for password in ("a@c4n4ry/b", "12/c4n4ry", "@c4n4ry/", "@c4n4ry,"):
        with pytest.raises(ConfigError) as caught:
            ConnectionManager(f"postgresql://app:{password}@db1:5433/orders")

        assert "c4n4ry" not in "".join(shown(caught.value))


def test_a_secret_given_in_the_place_of_another_setting_is_not_quoted() -> None:
    for name in ("target", "when_down", "failback", "name", "timeout", "min_size"):
        given: dict[str, Any] = {"conninfo": "host=db1", name: CANARY + "\n"}
        with pytest.raises(ConfigError) as caught:
            ConnectionManager(**given)

        assert caught.value.setting == name
        assert traces(*shown(caught.value)) == []


def test_a_traceback_that_rich_prints_with_all_variables_shows_nothing() -> None:
    with pytest.raises(ConfigError) as caught:
        ConnectionManager(f"postgresql://app:{CANARY}@db1/orders", kwargs={"password": CANARY})

    text = rendered_by_rich(caught.value)
    assert "in __init__" in text
    assert "locals" in text
    assert traces(text) == []


def test_an_error_in_the_environment_or_a_service_file_is_not_quoted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "services.conf"
    for line in (CANARY, f"{CANARY}=x", f"port={CANARY}", f"password={CANARY}\n{CANARY[4:]}"):
        path.write_text(f"[orders]\nhost=db1\n{line}\n")
        with pytest.raises(ConfigError) as caught:
            ConnectionManager("service=orders", kwargs={"servicefile": str(path)})
        assert traces(*rendered(caught.value)) == [], line
    for variable in (
        *("PGPORT", "PGHOSTADDR", "PGSSLMODE", "PGCONNECT_TIMEOUT"),
        *("PGTARGETSESSIONATTRS", "PGSERVICE"),
    ):
        monkeypatch.setenv(variable, CANARY)
        with pytest.raises(ConfigError) as caught:
            ConnectionManager("host=db1")
        assert traces(*rendered(caught.value)) == [], variable
        monkeypatch.delenv(variable)


# -- callables ----------------------------------------------------------------------------------


def returns(value: object) -> Callable[[], Any]:
    return lambda: value


def fails() -> str:
    raise LookupError("no such entry")


async def test_the_errors_of_open_do_not_show_what_callables_returned() -> None:
    refused: list[tuple[dict[str, Any], type[Exception]]] = [
        ({"conninfo": returns(f"host=db1 password={CANARY}")}, ConfigError),
        ({"conninfo": returns(CANARY.encode())}, ConfigError),
        ({"kwargs": returns({"host": "db1", "pasword": CANARY})}, ConfigError),
        ({"kwargs": returns([CANARY])}, ConfigError),
        ({"kwargs": returns({"host": "db1"}), "password": returns(CANARY.encode())}, ConfigError),
        ({"conninfo": returns(f"password={quote(CANARY)}"), "kwargs": fails}, LookupError),
        ({"kwargs": returns({"sslpassword": CANARY}), "password": fails}, LookupError),
    ]
    for given, error in refused:
        manager = ConnectionManager(**given)

        with pytest.raises(error) as caught:
            await manager.open()

        assert traces(*rendered(caught.value)) == []
        assert not manager.snapshot().live


async def test_the_traceback_shows_the_frames_of_a_callable_that_fails() -> None:
    given: dict[str, Any] = {"conninfo": returns("host=db1"), "kwargs": fails}
    manager = ConnectionManager(**given)

    with pytest.raises(LookupError) as caught:
        await manager.open()

    names = [entry.name for entry in caught.traceback]
    assert names[-1] == "fails"


async def test_the_text_of_an_error_that_a_callable_raises_later_is_not_quoted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def provider() -> str:
        raise PermissionError(f"vault://app:{CANARY}@vault: permission denied")

    witness = Witness()
    port = free_port()
    conninfo = f"host=127.0.0.1 port={port}"
    manager = ConnectionManager(
        conninfo, password=provider, timeout=5, when_down="fail", on_event=witness.record_objects
    )
    async with manager:
        with pytest.raises(
            NoHostAvailable, match="callable for password raised PermissionErr"
        ) as caught:
            await manager.getconn()
        witness.record_error(caught.value)
        witness.record_objects(await manager.health())

    assert traces(caplog.text, *witness.texts) == []
