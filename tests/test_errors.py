"""The exceptions: what they say and carry, and which `except` clauses catch them."""

from __future__ import annotations

import copy
import pickle
from typing import TYPE_CHECKING

import psycopg
import psycopg_pool
import pytest

from pgmoor import (
    CommitOutcomeUnknown,
    ConfigError,
    ConnectionAborted,
    Holder,
    ManagerClosed,
    NoHostAvailable,
    PoolExhausted,
    PoolFigures,
    TooManyRequests,
)
from pgmoor import errors as errors_module
from pgmoor.health import HostHealth
from pgmoor.hosts import Facts, Host, HostTable, Observation
from pgmoor.sqlstate import Failure, FailureKind

if TYPE_CHECKING:
    from collections.abc import Callable

FIGURES = PoolFigures(size=8, used=7, idle=1, waiting=3, min_size=4, max_size=10)
HOLDERS = (Holder("report", 12.34), Holder("import", 5.0))


def known(facts: Facts | None = None, failure: Failure | None = None) -> HostHealth:
    """Return the report on a host of which one thing was observed."""
    table = HostTable([Host(0, "db1", 5432)])
    if facts or failure:
        table.apply(Observation(0, 10.0, 10.1, facts=facts, failure=failure))
    (shown,) = table.report(None, 10.1)
    return shown


REFUSED = known(failure=Failure(FailureKind.REFUSED, "Connection refused"))
STANDBY = known(Facts(in_recovery=True, writable=False))

EVERY_ERROR = (
    ConfigError("port", "it is not a number", "give the server's port"),
    PoolExhausted(1.5, FIGURES, HOLDERS),
    NoHostAvailable("no host available", (REFUSED, STANDBY)),
    TooManyRequests(FIGURES),
    CommitOutcomeUnknown("the connection was lost during COMMIT"),
    ConnectionAborted("db1:5432", "the host was left: it is down"),
    ManagerClosed("'orders' is closed"),
)


# -- except clauses -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "caught_as"),
    [
        (ConfigError, ValueError),
        (PoolExhausted, psycopg_pool.PoolTimeout),
        (NoHostAvailable, psycopg_pool.PoolTimeout),
        (TooManyRequests, psycopg_pool.TooManyRequests),
        (CommitOutcomeUnknown, psycopg.OperationalError),
        (ConnectionAborted, psycopg.OperationalError),
        (ManagerClosed, psycopg_pool.PoolClosed),
    ],
)
def test_an_error_is_caught_by_the_clause_that_a_program_has_already(
    kind: type[Exception], caught_as: type[Exception]
) -> None:
    assert issubclass(kind, caught_as)


@pytest.mark.parametrize("error", EVERY_ERROR[1:], ids=lambda error: type(error).__name__)
def test_every_error_but_that_of_a_setting_is_an_operational_error(error: Exception) -> None:
    assert isinstance(error, psycopg.OperationalError)


def test_a_setting_that_is_wrong_is_no_database_error() -> None:
    assert not issubclass(ConfigError, psycopg.Error)


def test_all_errors_of_the_module_are_tried_here() -> None:
    exceptions = {
        name
        for name in errors_module.__all__
        if issubclass(getattr(errors_module, name), Exception)
    }

    assert exceptions == {type(error).__name__ for error in EVERY_ERROR}


# -- what they say ------------------------------------------------------------------------------


def test_a_config_error_names_the_setting_the_problem_and_the_remedy() -> None:
    error = EVERY_ERROR[0]

    assert isinstance(error, ConfigError)
    assert str(error) == "port: it is not a number; give the server's port"
    assert (error.setting, error.problem) == ("port", "it is not a number")
    assert error.remedy == "give the server's port"


def test_an_exhausted_pool_says_how_long_how_full_and_who() -> None:
    error = PoolExhausted(1.5, FIGURES, HOLDERS)

    assert str(error) == (
        "no connection free within 1.50 s: size 8 of 10, used 7, idle 1, waiting 3;"
        " held longest by report for 12.3 s, import for 5.0 s"
    )
    assert (error.timeout, error.figures, error.holders) == (1.5, FIGURES, HOLDERS)


def test_an_exhausted_pool_without_holders_says_so_much() -> None:
    assert str(PoolExhausted(1.5, FIGURES)).endswith("used 7, idle 1, waiting 3")


def test_no_host_available_says_what_each_host_is() -> None:
    error = NoHostAvailable("no host available within 1.00 s", (REFUSED, STANDBY))

    assert str(error) == (
        "no host available within 1.00 s: db1:5432 is down (Connection refused);"
        " db1:5432 is up (standby)"
    )
    assert error.hosts == (REFUSED, STANDBY)


def test_no_host_available_without_hosts_is_the_reason_alone() -> None:
    assert str(NoHostAvailable("no host available")) == "no host available"


def test_too_many_requests_says_how_many() -> None:
    error = TooManyRequests(FIGURES)

    assert "waiting 3" in str(error)
    assert error.figures == FIGURES


def test_an_aborted_connection_names_host_and_reason() -> None:
    error = ConnectionAborted("db1:5432", "the host was left: it is down")

    assert str(error) == "connection to db1:5432 was aborted: the host was left: it is down"
    assert (error.host, error.reason) == ("db1:5432", "the host was left: it is down")


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (known(), "db1:5432 is unknown"),
        (REFUSED, "db1:5432 is down (Connection refused)"),
        (STANDBY, "db1:5432 is up (standby)"),
        (known(Facts(in_recovery=False, writable=True)), "db1:5432 is up (primary)"),
        (known(Facts(in_recovery=False, writable=False)), "db1:5432 is up (read-only primary)"),
        (known(Facts(writable=True)), "db1:5432 is up (writable)"),
    ],
)
def test_a_host_is_described_in_a_few_words(state: HostHealth, words: str) -> None:
    assert str(state) == words


# -- round trips --------------------------------------------------------------------------------


def by_pickle(error: Exception) -> object:
    return pickle.loads(pickle.dumps(error))


@pytest.mark.parametrize("travel", [by_pickle, copy.copy, copy.deepcopy])
@pytest.mark.parametrize("error", EVERY_ERROR, ids=lambda error: type(error).__name__)
def test_an_error_survives_the_way_to_another_process(
    error: Exception, travel: Callable[[Exception], object]
) -> None:
    arrived = travel(error)

    assert type(arrived) is type(error)
    assert str(arrived) == str(error)
    assert attributes(arrived) == attributes(error)


def attributes(error: object) -> dict[str, object]:
    return {name: value for name, value in vars(error).items() if not name.startswith("_")}
