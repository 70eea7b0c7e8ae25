"""`Settings`: each value is validated, and libpq gets what was given."""

from __future__ import annotations

import inspect
import math
from typing import Any

import pytest
from psycopg.conninfo import conninfo_to_dict

from pgmoor import ConfigError, ConnectionManager, Target
from pgmoor._core.settings.parameters import ConnectParams
from pgmoor._core.settings.settings import TCP_DEFAULTS, Settings
from pgmoor._core.settings.sizes import LIMIT, Sizes

INFINITE, NAN = math.inf, math.nan


def settings(conninfo: Any = "host=db1", **values: Any) -> Settings:
    return ConnectionManager(conninfo, **values)._settings


# -- values -------------------------------------------------------------------------------------


def test_the_defaults_are_those_of_the_constructor() -> None:
    found = settings()

    parameters = inspect.signature(ConnectionManager).parameters
    differing = {
        name: getattr(found, name)
        for name in parameters
        if hasattr(found, name) and getattr(found, name) != parameters[name].default
    }
    assert differing.keys() == {"hosts", "name", "target", "max_size"}
    assert found.max_size == found.min_size


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
def test_the_target_is_the_primary_of_several_hosts_unless_the_conninfo_or_an_argument_names_it(
    conninfo: str, target: Target
) -> None:
    assert settings(conninfo).target is target
    assert settings(conninfo, target="prefer-standby").target is Target.PREFER_STANDBY


def test_connect_timeout_is_in_seconds_and_never_unlimited() -> None:
    seconds: dict[str | None, float] = {"7": 7.0, "2.5": 2.5, "0": 5.0, "-1": 5.0, None: 5.0}

    assert {
        value: settings(kwargs={"connect_timeout": value}).connect_timeout for value in seconds
    } == seconds


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


def test_the_sizes_are_those_of_sqlalchemys_queue_pool() -> None:
    sizes = Sizes.of(0, 5, 10, 600.0)

    assert (sizes.kept, sizes.max_size + sizes.max_overflow) == (5, 15)  # pool_size and all
    nothing_kept = Sizes.of(0, 5, 10, 0)
    assert (nothing_kept.kept, nothing_kept.max_size + nothing_kept.max_overflow) == (0, 15)
    two_kept = Sizes.of(2, 5, 0, 0)
    assert (two_kept.kept, two_kept.max_size + two_kept.max_overflow) == (2, 5)


# -- values that are refused --------------------------------------------------------------------

DURATIONS = (
    *("timeout", "max_lifetime", "reconnect_timeout", "hosts_interval", "health_interval"),
    *("health_timeout", "keepalive_interval", "stall_timeout", "cancel_timeout", "close_timeout"),
    *("backoff_base", "backoff_cap", "keep_keys"),
)
DURATIONS_OR_ZERO = ("max_idle", "validate_after", "settle", "failback_after")
DURATIONS_OR_NONE = ("max_time", "held_warning", "quiet_after")
BAD_DURATIONS: tuple[object, ...] = (-1, -0.001, INFINITE, NAN, "5", b"5", True, [], object())


def refuse(name: str, value: object, remedy: str) -> None:
    with pytest.raises(ConfigError) as caught:
        settings(**{name: value})
    assert caught.value.setting == name
    assert caught.value.remedy.startswith(remedy)  # test_mistaken_settings.py is about the rest


def test_every_duration_is_tried_here() -> None:
    parameters = inspect.signature(ConnectionManager).parameters

    durations = {
        name for name, parameter in parameters.items() if parameter.annotation.startswith("float")
    }

    assert durations == {*DURATIONS, *DURATIONS_OR_ZERO, *DURATIONS_OR_NONE}


def test_a_duration_is_a_number_of_seconds_above_0() -> None:
    for name in DURATIONS:
        assert getattr(settings(**{name: 0.001}), name) == 0.001
        for value in (0, None, *BAD_DURATIONS):
            refuse(name, value, "give seconds, more than 0")


def test_some_durations_may_be_0() -> None:
    for name in DURATIONS_OR_ZERO:
        assert getattr(settings(**{name: 0}), name) == 0
        for value in (None, *BAD_DURATIONS):
            refuse(name, value, "give seconds, 0 or more")


def test_some_limits_may_be_none() -> None:
    for name in DURATIONS_OR_NONE:
        assert getattr(settings(**{name: None}), name) is None
        bad: tuple[object, ...] = (0, *BAD_DURATIONS)
        for value in bad:
            refuse(name, value, "give seconds, more than 0")


@pytest.mark.parametrize("name", ["min_size", "max_size", "max_overflow", "max_waiting"])
def test_a_size_is_a_whole_number(name: str) -> None:
    bad: tuple[object, ...] = (-1, 1.5, "4", True, [], INFINITE)
    for value in bad:
        refuse(name, value, "give a whole number, 0 or more")


def test_a_setting_that_can_t_be_used_is_named_with_a_remedy() -> None:
    targets = "give one of any, read-write, read-only, primary, standby, prefer-standby"
    uri = 'give "postgresql://user@host/db"'
    unset = f"{uri}, or check that the environment variable you read is set"
    more = "give as many or more, or a lower min_size"
    tries = "give 1 or more, or None for no limit"
    refused: list[tuple[dict[str, Any], str, str]] = [
        ({"min_size": 4, "max_size": 3}, "max_size", more),
        ({"min_size": 0}, "max_size", "give 1 or more"),
        ({"min_size": 0, "max_size": 0}, "max_size", "give 1 or more"),
        ({"min_size": None}, "min_size", "give a whole number, 0 or more"),
        ({"max_size": LIMIT + 1}, "max_size", f"give {LIMIT} or less"),
        ({"num_workers": 0}, "num_workers", "give a whole number, 1 or more"),
        ({"max_tries": 0}, "max_tries", tries),
        ({"max_tries": 1.5}, "max_tries", tries),
        ({"max_tries": True}, "max_tries", tries),
        ({"when_down": "panic"}, "when_down", "give 'wait' or 'fail'"),
        ({"when_down": None}, "when_down", "give 'wait' or 'fail'"),
        ({"failback": ["auto"]}, "failback", "give 'auto' or 'manual'"),
        ({"target": "master"}, "target", f"{targets}; did you mean primary?"),
        ({"close_returns": 1}, "close_returns", "give one of them"),
        ({"kwargs": {"connect_timeout": "soon"}}, "connect_timeout", "give seconds, such as 5"),
        ({"kwargs": {"connect_timeout": "inf"}}, "connect_timeout", "give seconds, such as 5"),
        ({"kwargs": {"load_balance_hosts": "random"}}, "load_balance_hosts", "remove it"),
        ({"kwargs": {"nonsense": 1}}, "kwargs", "correct its spelling, or remove it"),
        ({"conninfo": None}, "conninfo", unset),
        ({"conninfo": b"host=db1"}, "conninfo", uri),
        ({"conninfo": "", "hosts": ["db1", "db1:5432"]}, "hosts", "name each server once"),
        ({"conninfo": "host=db1,db1"}, "hosts", "name each server once"),
    ]
    for values, setting, remedy in refused:
        with pytest.raises(ConfigError) as caught:
            settings(**values)
        assert (caught.value.setting, caught.value.remedy) == (setting, remedy), values


# -- what libpq and psycopg get -----------------------------------------------------------------


def test_libpq_gets_the_given_parameters_and_one_hosts_address() -> None:
    found = settings(
        "host=db1,db2 port=5433 dbname=orders password=pass1word connect_timeout=3"
        " load_balance_hosts=disable application_name=orders keepalives_idle=60"
    )

    params = found.params_of(found.hosts[1])

    assert params == {
        **TCP_DEFAULTS,  # so that a peer which vanished is noticed
        "keepalives_idle": "60",
        "host": "db2",
        "hostaddr": "",
        "port": 5433,
        "dbname": "orders",
        "password": "pass1word",
        "application_name": "orders",
        "fallback_application_name": "pgmoor",
        "target_session_attrs": "any",  # the manager chooses the host
    }


def test_psycopgs_own_arguments_are_not_for_libpq() -> None:
    found = settings(kwargs={"autocommit": True, "prepare_threshold": None, "user": "app"})

    assert found.connect_args == {"autocommit": True, "prepare_threshold": None}
    assert found.params_of(found.hosts[0])["user"] == "app"


def test_connect_is_called_with_a_conninfo_for_one_host_and_what_was_given_in_kwargs() -> None:
    given = {"host": "db1,db2", "user": "app", "autocommit": True, "connect_timeout": 3}
    found = settings("dbname=orders password='pass 1word'", kwargs=given)

    conninfo, keywords = found.connect_call(found.hosts[1])

    params = conninfo_to_dict(conninfo)
    assert (params["host"], params["hostaddr"], params["port"]) == ("db2", "", "5432")
    assert (params["user"], params["dbname"], params["password"]) == ("app", "orders", "pass 1word")
    assert keywords == {"host": "db2", "user": "app", "autocommit": True, "connect_timeout": 3600}
    assert params["connect_timeout"] == "3600"  # the manager has limits of its own
    conninfo, keywords = found.connect_call(
        found.hosts[0],
        "10.0.0.1",
        ConnectParams({"dbname": "orders", "password": "fresh"}, {}, frozenset({"password"})),
    )
    params = conninfo_to_dict(conninfo)
    assert (params["hostaddr"], params["password"]) == ("10.0.0.1", "fresh")
    assert keywords == {"password": "fresh"}
