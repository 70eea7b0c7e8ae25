"""Settings that can't be used: what is said of them, and shown by a traceback with variables."""

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
BAD: list[dict[str, Any]] = [
    # a password that is not encoded, or badly, in every place of a URI
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
    # in a conninfo
    {"conninfo": f"host=db1 password={CANARY}"},
    {"conninfo": f"host=db1 password='{CANARY}"},
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
    # as an argument in the wrong place, or of the wrong type
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
    {"hosts": [f"db1:{CANARY}"]},
    {"hosts": CANARY},
]


@pytest.mark.parametrize("given", BAD, ids="-".join)
def test_an_error_shows_nothing_of_what_was_given(given: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as caught:
        ConnectionManager(**given)

    assert caught.value.__traceback__ is not None
    assert traces(*rendered(caught.value)) == []


@pytest.mark.parametrize("name", ["target", "when_down", "failback", "name", "timeout", "min_size"])
def test_nor_is_what_stands_in_the_place_of_another_setting_quoted(name: str) -> None:
    given: dict[str, Any] = {"conninfo": "host=db1", name: CANARY + "\n"}
    with pytest.raises(ConfigError) as caught:
        ConnectionManager(**given)

    assert caught.value.setting == name
    assert traces(*shown(caught.value)) == []


def test_nor_does_a_traceback_that_rich_prints_with_all_variables() -> None:
    with pytest.raises(ConfigError) as caught:
        ConnectionManager(f"postgresql://app:{CANARY}@db1/orders", kwargs={"password": CANARY})

    text = rendered_by_rich(caught.value)
    assert "in __init__" in text
    assert "locals" in text
    assert traces(text) == []


@pytest.mark.parametrize(
    "variable",
    ["PGPORT", "PGHOSTADDR", "PGSSLMODE", "PGCONNECT_TIMEOUT", "PGTARGETSESSIONATTRS", "PGSERVICE"],
)
def test_nor_does_an_error_in_the_environment(
    variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, CANARY)

    with pytest.raises(ConfigError) as caught:
        ConnectionManager("host=db1")

    assert traces(*rendered(caught.value)) == []


@pytest.mark.parametrize(
    "line", [CANARY, f"{CANARY}=x", f"port={CANARY}", f"password={CANARY}\n{CANARY[4:]}"]
)
def test_nor_does_an_error_in_a_service_file(line: str, tmp_path: Path) -> None:
    path = tmp_path / "services.conf"
    path.write_text(f"[orders]\nhost=db1\n{line}\n")

    with pytest.raises(ConfigError) as caught:
        ConnectionManager("service=orders", kwargs={"servicefile": str(path)})

    assert traces(*rendered(caught.value)) == []


# -- callables ----------------------------------------------------------------------------------


def gives(value: object) -> Callable[[], Any]:
    return lambda: value


def fails() -> str:
    raise LookupError("no such entry")


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({"conninfo": gives(f"host=db1 password={CANARY}")}, ConfigError),
        ({"conninfo": gives(CANARY.encode())}, ConfigError),
        ({"kwargs": gives({"host": "db1", "pasword": CANARY})}, ConfigError),
        ({"kwargs": gives([CANARY])}, ConfigError),
        ({"kwargs": gives({"host": "db1"}), "password": gives(CANARY.encode())}, ConfigError),
        ({"conninfo": gives(f"password={quote(CANARY)}"), "kwargs": fails}, LookupError),
        ({"kwargs": gives({"sslpassword": CANARY}), "password": fails}, LookupError),
    ],
)
async def test_what_callables_gave_is_not_in_the_errors_of_open(
    given: dict[str, Any], error: type[Exception]
) -> None:
    manager = ConnectionManager(**given)

    with pytest.raises(error) as caught:
        await manager.open()

    assert traces(*rendered(caught.value)) == []
    assert not manager.snapshot().live


async def test_the_frames_of_a_callable_that_fails_are_in_the_traceback() -> None:
    given: dict[str, Any] = {"conninfo": gives("host=db1"), "kwargs": fails}
    manager = ConnectionManager(**given)

    with pytest.raises(LookupError) as caught:
        await manager.open()

    names = [entry.name for entry in caught.traceback]
    assert names[-1] == "fails"


async def test_what_a_callable_raises_later_is_not_quoted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def provider() -> str:
        raise PermissionError(f"vault://app:{CANARY}@vault: permission denied")

    witness = Witness()
    port = free_port()
    conninfo = f"host=127.0.0.1 port={port}"
    manager = ConnectionManager(
        conninfo, password=provider, timeout=5, when_down="fail", on_event=witness.saw
    )
    async with manager:
        with pytest.raises(
            NoHostAvailable, match="callable for password raised PermissionErr"
        ) as caught:
            await manager.getconn()
        witness.met(caught.value)
        witness.saw(await manager.health())

    assert traces(caplog.text, *witness.texts) == []
