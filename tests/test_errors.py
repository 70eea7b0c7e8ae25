"""The exceptions: what they say and carry, and which `except` clauses catch them."""

from __future__ import annotations

import copy
import pickle
from dataclasses import replace
from typing import TYPE_CHECKING

import psycopg
import psycopg_pool
import pytest

from pgmoor import (
    AlreadyDone,
    CommitOutcomeUnknown,
    ConfigError,
    ConnectionAborted,
    Holder,
    ManagerClosed,
    NoHostAvailable,
    NotInstalled,
    PoolExhausted,
    PoolFigures,
    RetrySafety,
    TooManyRequests,
    TransactionTimeout,
    retry_safety,
)
from pgmoor import errors as errors_module
from pgmoor.health import HostHealth

if TYPE_CHECKING:
    from collections.abc import Callable

FIGURES = PoolFigures(size=8, used=7, idle=1, waiting=3, min_size=4, max_size=10)
HOLDERS = (Holder("report", 12.34), Holder("import", 5.0))
NOTHING = HostHealth("db2:5432", "unknown", "unknown", None, None, None, None, False, False, None)
DOWN = replace(NOTHING, host="db1:5432", status="down", failure="Connection refused")

# What each is caught as, and what it says.
ERRORS: dict[Exception, tuple[type[Exception], str]] = {
    ConfigError("port", "it is not a number", "give the server's port"): (
        ValueError,
        "port: it is not a number; give the server's port",
    ),
    PoolExhausted(1.5, FIGURES, HOLDERS, "orders"): (
        psycopg_pool.PoolTimeout,
        (
            "no connection of 'orders' free within 1.50 s: size 8 of 10, used 7, idle 1, waiting 3;"
            " held longest by report for 12.3 s, import for 5.0 s"
        ),
    ),
    PoolExhausted(2.0, FIGURES, HOLDERS[:1], reason="too many connections for role"): (
        psycopg_pool.PoolTimeout,
        (
            "no connection free within 2.00 s: size 8 of 10, used 7, idle 1, waiting 3;"
            " no connection could be added: too many connections for role;"
            " held longest by report for 12.3 s"
        ),
    ),
    PoolExhausted(0.0, FIGURES): (
        psycopg_pool.PoolTimeout,
        "no connection free within 0.00 s: size 8 of 10, used 7, idle 1, waiting 3",
    ),
    NoHostAvailable("no host available within 1.00 s", (DOWN, NOTHING)): (
        psycopg_pool.PoolTimeout,
        (
            "no host available within 1.00 s: db1:5432 is down (Connection refused);"
            " db2:5432 has not answered yet"
        ),
    ),
    NoHostAvailable("no host available"): (psycopg_pool.PoolTimeout, "no host available"),
    TooManyRequests(FIGURES, "orders"): (
        psycopg_pool.TooManyRequests,
        (
            "too many callers (max_waiting) wait for a connection of 'orders':"
            " size 8 of 10, used 7, idle 1, waiting 3"
        ),
    ),
    CommitOutcomeUnknown("the connection was lost during COMMIT"): (
        psycopg.OperationalError,
        "the connection was lost during COMMIT",
    ),
    ConnectionAborted("db1:5432", "the manager left the host: it is down"): (
        psycopg.OperationalError,
        "connection to db1:5432 was aborted: the manager left the host: it is down",
    ),
    ManagerClosed("'orders' is closed"): (psycopg_pool.PoolClosed, "'orders' is closed"),
    TransactionTimeout(2.5, 3): (
        psycopg.OperationalError,
        "the transaction did not end within 2.5 s and is rolled back; this was attempt 3",
    ),
    AlreadyDone("7f3a"): (
        psycopg.IntegrityError,
        "a transaction with this idempotency key has committed before",
    ),
    NotInstalled("call install()"): (psycopg.ProgrammingError, "call install()"),
}


def test_every_error_says_what_happened_and_is_caught_by_the_clause_that_a_program_has() -> None:
    for error, (caught_as, text) in ERRORS.items():
        assert str(error) == text
        assert isinstance(error, caught_as)
        # All but a wrong setting are database errors, and name what may be repeated.
        assert isinstance(retry_safety(error), RetrySafety)
        assert isinstance(error, psycopg.Error) is not isinstance(error, ConfigError)


def test_every_error_of_the_module_is_tried_here() -> None:
    public = [getattr(errors_module, name) for name in errors_module.__all__]

    assert {
        kind for kind in public if isinstance(kind, type) and issubclass(kind, Exception)
    } == set(map(type, ERRORS))


def test_errors_carry_what_they_say() -> None:
    config, exhausted, _, _, no_host, _, too_many, _, aborted, *_ = map(vars, ERRORS)

    assert (config["setting"], config["problem"]) == ("port", "it is not a number")
    assert config["remedy"] == "give the server's port"
    assert (exhausted["timeout"], exhausted["holders"]) == (1.5, HOLDERS)
    assert exhausted["figures"] == too_many["figures"] == FIGURES
    assert exhausted["manager"] == too_many["manager"] == "orders"
    assert no_host["hosts"] == (DOWN, NOTHING)
    assert no_host["reason"] == "no host available within 1.00 s"
    assert (aborted["host"], aborted["reason"]) == (
        "db1:5432",
        "the manager left the host: it is down",
    )


def by_pickle(error: Exception) -> object:
    return pickle.loads(pickle.dumps(error))


@pytest.mark.parametrize("travel", [by_pickle, copy.copy, copy.deepcopy])
def test_every_error_can_be_pickled_and_copied(travel: Callable[[Exception], object]) -> None:
    for error in ERRORS:
        arrived = travel(error)

        assert type(arrived) is type(error)
        assert str(arrived) == str(error)
        assert attributes(arrived) == attributes(error)


def attributes(error: object) -> dict[str, object]:
    return {name: value for name, value in vars(error).items() if not name.startswith("_")}
