"""The settings: each one validated, and secrets that never show."""

from __future__ import annotations

import inspect
import math
import os
import pickle
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from pgmoor import ConfigError, ConnectionManager, Target
from pgmoor._core.settings.settings import TCP_DEFAULTS, Settings
from pgmoor._core.util.secrets import Secrets

if TYPE_CHECKING:
    from pathlib import Path

CANARY = "c4n4ry-v4lue"
INFINITE, NAN = math.inf, math.nan


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Take away all that the machine's own environment would add."""
    for name in os.environ:
        if name.startswith("PG"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))


def settings(conninfo: Any = "host=db1", **values: Any) -> Settings:
    return ConnectionManager(conninfo, **values)._settings


# -- values -------------------------------------------------------------------------------------


def test_the_defaults_are_those_that_the_constructor_documents() -> None:
    found = settings()

    parameters = inspect.signature(ConnectionManager).parameters
    differing = {
        name: getattr(found, name)
        for name in parameters
        if hasattr(found, name) and getattr(found, name) != parameters[name].default
    }
    assert differing.keys() == {"hosts", "name", "target", "max_size"}


def test_a_pool_without_max_size_is_as_large_as_min_size() -> None:
    assert settings(min_size=3).max_size == 3


@pytest.mark.parametrize(
    ("conninfo", "target"),
    [
        ("host=db1", Target.ANY),
        ("host=db1,db2", Target.PRIMARY),
        ("host=db1 target_session_attrs=standby", Target.STANDBY),
        ("host=db1,db2 target_session_attrs=any", Target.ANY),
        ("postgresql://db1,db2/x?target_session_attrs=read-write", Target.READ_WRITE),
    ],
)
def test_the_target_is_the_primary_of_several_hosts_unless_it_is_named(
    conninfo: str, target: Target
) -> None:
    assert settings(conninfo).target is target


def test_a_target_given_by_name_wins_over_the_conninfo() -> None:
    found = settings("host=db1 target_session_attrs=standby", target="prefer-standby")

    assert found.target is Target.PREFER_STANDBY


@pytest.mark.parametrize(
    ("value", "seconds"), [("7", 7.0), ("2.5", 2.5), ("0", 5.0), ("-1", 5.0), (None, 5.0)]
)
def test_connect_timeout_is_in_seconds_and_never_for_ever(
    value: str | None, seconds: float
) -> None:
    assert settings(kwargs={"connect_timeout": value}).connect_timeout == seconds


def test_the_rules_of_decisions_come_from_the_settings() -> None:
    rules = settings(
        target="standby",
        failback="manual",
        failback_after=7,
        settle=0.5,
        stall_timeout=9,
        health_interval=0.5,
        health_timeout=0.25,
    ).rules

    assert (rules.target, rules.failback, rules.failback_after) == (Target.STANDBY, "manual", 7)
    assert (rules.settle, rules.stall_timeout, rules.expiry) == (0.5, 9, 2.25)


# -- what is refused ----------------------------------------------------------------------------

DURATIONS = (
    "timeout",
    "max_lifetime",
    "reconnect_timeout",
    "hosts_interval",
    "health_interval",
    "health_timeout",
    "keepalive_interval",
    "stall_timeout",
    "cancel_timeout",
    "close_timeout",
    "backoff_base",
    "backoff_cap",
)
DURATIONS_OR_ZERO = ("max_idle", "validate_after", "settle", "failback_after")
DURATIONS_OR_NONE = ("max_time", "held_warning")
BAD_DURATIONS: tuple[object, ...] = (-1, -0.001, INFINITE, NAN, "5", b"5", True, [], object())


def test_every_duration_is_tried_here() -> None:
    parameters = inspect.signature(ConnectionManager).parameters

    durations = {
        name for name, parameter in parameters.items() if parameter.annotation.startswith("float")
    }

    assert durations == {*DURATIONS, *DURATIONS_OR_ZERO, *DURATIONS_OR_NONE}


@pytest.mark.parametrize("name", DURATIONS)
def test_a_duration_is_more_than_nothing(name: str) -> None:
    assert getattr(settings(**{name: 0.001}), name) == 0.001
    for value in (0, None, *BAD_DURATIONS):
        refused(name, value, "give seconds, more than 0")


@pytest.mark.parametrize("name", DURATIONS_OR_ZERO)
def test_some_durations_may_be_nothing(name: str) -> None:
    assert getattr(settings(**{name: 0}), name) == 0
    for value in (None, *BAD_DURATIONS):
        refused(name, value, "give seconds, 0 or more")


@pytest.mark.parametrize("name", DURATIONS_OR_NONE)
def test_some_limits_may_be_none(name: str) -> None:
    assert getattr(settings(**{name: None}), name) is None
    for value in (0, *BAD_DURATIONS):
        refused(name, value, "give seconds, more than 0")


def refused(name: str, value: object, remedy: str) -> None:
    with pytest.raises(ConfigError) as caught:
        settings(**{name: value})
    assert (caught.value.setting, caught.value.remedy) == (name, remedy)


@pytest.mark.parametrize("name", ["min_size", "max_size", "max_waiting"])
@pytest.mark.parametrize("value", [-1, 1.5, "4", True, [], INFINITE])
def test_a_size_is_a_whole_number(name: str, value: object) -> None:
    refused(name, value, "give a whole number, 0 or more")


@pytest.mark.parametrize(
    ("values", "setting", "remedy"),
    [
        ({"min_size": 4, "max_size": 3}, "max_size", "give min_size or more"),
        ({"min_size": 0}, "max_size", "give 1 or more"),
        ({"min_size": 0, "max_size": 0}, "max_size", "give 1 or more"),
        ({"min_size": None}, "min_size", "give a whole number, 0 or more"),
        ({"max_tries": 0}, "max_tries", "give 1 or more, or None for no limit"),
        ({"max_tries": 1.5}, "max_tries", "give 1 or more, or None for no limit"),
        ({"max_tries": True}, "max_tries", "give 1 or more, or None for no limit"),
        ({"when_down": "panic"}, "when_down", "give 'wait' or 'fail'"),
        ({"when_down": None}, "when_down", "give 'wait' or 'fail'"),
        ({"failback": ["auto"]}, "failback", "give 'auto' or 'manual'"),
        (
            {"target": "master"},
            "target",
            "give one of any, read-write, read-only, primary, standby, prefer-standby",
        ),
        ({"kwargs": {"connect_timeout": "soon"}}, "connect_timeout", "give seconds, such as 5"),
        ({"kwargs": {"connect_timeout": "inf"}}, "connect_timeout", "give seconds, such as 5"),
        ({"kwargs": {"load_balance_hosts": "random"}}, "load_balance_hosts", "remove it"),
        ({"kwargs": {"nonsense": 1}}, "kwargs", "correct its spelling, or remove it"),
        ({"conninfo": None}, "conninfo", 'give "postgresql://user@host/db"'),
        ({"conninfo": b"host=db1"}, "conninfo", 'give "postgresql://user@host/db"'),
        ({"conninfo": "", "hosts": ["db1", "db1:5432"]}, "hosts", "name each server once"),
        ({"conninfo": "host=db1,db1"}, "hosts", "name each server once"),
    ],
    ids=str,
)
def test_a_setting_that_cannot_be_used_is_named_with_a_remedy(
    values: dict[str, Any], setting: str, remedy: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        settings(**values)

    assert (caught.value.setting, caught.value.remedy) == (setting, remedy)


def test_one_server_at_two_ports_is_two_hosts() -> None:
    assert len(settings("host=db1,db1 port=5432,5433").hosts) == 2


# -- what libpq and psycopg get -----------------------------------------------------------------


def test_a_host_gets_the_parameters_that_were_given_and_its_own_address() -> None:
    found = settings(f"host=db1,db2 port=5433 dbname=orders password={CANARY}")

    params = found.params_of(found.hosts[1])

    assert (params["host"], params["port"], params["dbname"]) == ("db2", 5433, "orders")
    assert params["password"] == CANARY


def test_what_steers_the_choice_of_a_host_is_kept_from_libpq() -> None:
    found = settings("host=db1,db2 connect_timeout=3 load_balance_hosts=disable")

    params = found.params_of(found.hosts[0])

    assert "connect_timeout" not in params
    assert "load_balance_hosts" not in params
    assert params.get("target_session_attrs", "any") == "any"


def test_a_connection_has_limits_for_a_peer_that_vanishes_unless_others_are_given() -> None:
    found = settings("host=db1 keepalives_idle=60")

    params = found.params_of(found.hosts[0])

    assert params["keepalives_idle"] == "60"
    assert {**params, **TCP_DEFAULTS, "keepalives_idle": "60"} == params


def test_what_psycopg_takes_itself_is_not_for_libpq() -> None:
    found = settings(kwargs={"autocommit": True, "prepare_threshold": None, "user": "app"})

    assert found.connect_args == {"autocommit": True, "prepare_threshold": None}
    assert found.params_of(found.hosts[0])["user"] == "app"


def test_an_application_name_is_given_only_where_there_is_none() -> None:
    found = settings("host=db1 application_name=orders")

    params = found.params_of(found.hosts[0])

    assert params["application_name"] == "orders"
    assert params["fallback_application_name"] == "pgmoor"


# -- secrets ------------------------------------------------------------------------------------


def shown(found: Settings) -> str:
    """Return all that settings show of themselves."""
    visible = [found, vars(found), found.secrets, found.rules, *found.hosts]
    return "".join(f"{item!r} {item}" for item in visible)


def shown_by(error: BaseException | None) -> str:
    """Return all that an error shows of itself, and of what it came of unless that is hidden."""
    if error is None:
        return ""
    attributes = vars(error)
    chain = shown_by(error.__cause__)
    if not error.__suppress_context__:
        chain += shown_by(error.__context__)
    return f"{error!r} {error} {attributes!r} {chain}"


def attempt(conninfo: Any = "host=db1", **values: Any) -> str:
    """Return all that is shown of settings or of why they can't be used; nothing else may come."""
    try:
        manager = ConnectionManager(conninfo, **values)
    except ConfigError as error:
        return shown_by(error)
    return f"{manager!r} {shown(manager._settings)}"


@pytest.mark.parametrize(
    ("conninfo", "values"),
    [
        (f"host=db1 password={CANARY}", {}),
        (f"host=db1 sslpassword='{CANARY}'", {}),
        (f"postgresql://app:{CANARY}@db1,db2:5433/orders", {}),
        (f"postgresql://db1/orders?password={CANARY}", {}),
        ("host=db1", {"kwargs": {"password": CANARY}}),
        ("", {"hosts": ["db1", "db2"], "kwargs": {"password": CANARY}}),
    ],
)
def test_a_password_is_kept_and_not_shown(conninfo: str, values: dict[str, Any]) -> None:
    found = settings(conninfo, **values)

    assert CANARY in found.secrets.reveal().values()
    assert CANARY not in attempt(conninfo, **values)


@pytest.mark.parametrize(
    ("conninfo", "values"),
    [
        (f"host=db1 password={CANARY} nonsense", {}),
        (f"host=db1 password='{CANARY}", {}),
        (f"host=db1 pasword={CANARY}", {}),
        (f"host=db1 port={CANARY}", {}),
        (f"host=db1 target_session_attrs={CANARY}", {}),
        (f"host=db1 connect_timeout={CANARY}", {}),
        (f"host=db1 password={CANARY} load_balance_hosts=random", {}),
        (f"postgresql://app:{CANARY}%zz@db1/orders", {}),
        (f"postgresql://app:{CANARY}@[db1/orders", {}),
        ("host=db1", {"kwargs": {"pasword": CANARY}}),
        ("host=db1", {"target": CANARY}),
        ("host=db1", {"when_down": CANARY}),
        ("host=db1", {"timeout": CANARY}),
        ("", {"hosts": CANARY}),
        ("", {"hosts": [f"db1:{CANARY}"]}),
        ("", {"hosts": [f"app:{CANARY}@db1"]}),
        ("", {"hosts": [f"postgresql://app:{CANARY}@db1/orders"]}),
    ],
)
def test_an_error_does_not_quote_what_was_given(conninfo: str, values: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        settings(conninfo, **values)

    assert CANARY not in attempt(conninfo, **values)


@pytest.mark.parametrize("letter", list("@:/?#%,[]= \\'&+;"))
@pytest.mark.parametrize(
    "password",
    [
        "{canary}{letter}half",
        "half{letter}{canary}",
        "{letter}{canary}{letter}",
        "1{letter}{canary}",
    ],
)
def test_a_password_that_is_not_percent_encoded_shows_nowhere(password: str, letter: str) -> None:
    raw = password.format(canary=CANARY, letter=letter)

    assert CANARY not in attempt(f"postgresql://app:{raw}@db1:5433/orders")


@pytest.mark.parametrize(
    "password", [f"a@{CANARY}/b", f"12/{CANARY}", f"@{CANARY}/", f"@{CANARY},"]
)
def test_half_a_password_is_not_taken_for_a_host_or_a_database(password: str) -> None:
    with pytest.raises(ConfigError):
        settings(f"postgresql://app:{password}@db1:5433/orders")


def test_the_parameters_are_not_pickled() -> None:
    with pytest.raises(TypeError, match="may hold a password"):
        pickle.dumps(settings(f"host=db1 password={CANARY}"))


@pytest.mark.parametrize(
    "name", ["password", "sslpassword", "oauth_client_secret", "scram_client_key"]
)
def test_a_secret_is_taken_out_of_a_text_by_its_value(name: str) -> None:
    secrets = Secrets({name: CANARY, "user": "app"})

    assert secrets.redact(f"app said {CANARY} to db1") == "app said ******** to db1"


# -- whatever is given --------------------------------------------------------------------------

many = hypothesis_settings(max_examples=200, deadline=None)
nasty = st.text(alphabet=st.sampled_from("@:/?#%,[]= \\'\"&+;.ab19\x00é\n"), max_size=12)


@many
@example("@", "/", "/orders")
@example("@", ",", "/orders")
@example("@", "?\0", "/orders")
@given(nasty, nasty, st.sampled_from(["/orders", "", "/orders?sslmode=require", ",db2/orders"]))
def test_a_password_in_a_uri_never_shows(before: str, after: str, rest: str) -> None:
    uri = f"postgresql://app:{before}{CANARY}{after}@db1{rest}"

    assert CANARY not in attempt(uri)


@many
@given(nasty, nasty)
def test_a_password_in_a_conninfo_never_shows(before: str, after: str) -> None:
    quoted = f"{before}{CANARY}{after}".replace("\\", r"\\").replace("'", r"\'")

    assert CANARY not in attempt(f"host=db1 password='{quoted}' user=app")
    assert CANARY not in attempt(f"host=db1 password='{quoted}' pasword=app")
