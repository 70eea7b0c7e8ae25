"""What people get wrong: each error names the setting, what was given and what is accepted."""

from __future__ import annotations

import datetime as dt
import functools
import inspect
import linecache
import subprocess
import sys
import warnings
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from canary import CANARY, traces
from pgmoor import ConfigError, ConnectionManager, InsecureTransportWarning, Retry
from pgmoor._core.settings.mistakes import ARGUMENTS, OTHERWISE, RENAMED
from pgmoor.aiohttp import setup
from pgmoor.alerts import Alerts
from pgmoor.sqlalchemy import create_async_engine
from pgmoor.starlette import lifespan

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

Make = Any  # a manager's constructor, or another callable that takes settings

THEIRS: dict[str, str] = {  # what other pools have, and what of our answer
    "pool_pre_ping": "leave it out: every checkout is tested",
    "pool_size": "max_size",
    "pool_timeout": "timeout",
    "pool_recycle": "max_lifetime",
    "max_inactive_connection_lifetime": "max_idle",
    "max_queries": "max_lifetime",
    "command_timeout": "-c statement_timeout",
    "minsize": "min_size",
    "maxsize": "max_size",
    "minconn": "min_size",
    "init": "configure",
    "ssl": "sslmode",
    "statement_cache_size": "prepare_threshold",
    "server_settings": "kwargs",
    "poolclass": "the manager is the pool",
    "max_sise": "did you mean max_size?",
    "reconect_timeout": "did you mean reconnect_timeout?",
    "timeouts": "did you mean timeout?",
    "sslmode": 'as kwargs={"sslmode": ...}',
    "autocommit": 'as kwargs={"autocommit": ...}',
    "dbname": 'as kwargs={"dbname": ...}',
    "unheard_of": "correct its spelling, or remove it",
}


def refused(make: Make, *args: Any, **settings: Any) -> ConfigError:
    """Return the error; no text of it may show a secret."""
    with pytest.raises(ConfigError) as caught:
        make(*args, **settings)
    assert traces(str(caught.value), repr(caught.value)) == []
    assert str(caught.value).isprintable()
    return caught.value


@pytest.mark.parametrize(("name", "remedy"), THEIRS.items())
def test_another_pools_setting_is_answered_with_ours(name: str, remedy: str) -> None:
    error = refused(ConnectionManager, "host=db1", **{name: CANARY})
    assert error.setting == name
    assert error.problem == "there is no such setting"
    assert remedy in error.remedy


def test_a_setting_in_kwargs_or_in_the_conninfo_is_answered_in_the_same_way() -> None:
    for name, remedy in (
        ("max_size", "give max_size to ConnectionManager itself"),
        ("pool_size", "ConnectionManager calls it max_size"),
        ("sslmod", "did you mean sslmode?"),
        ("row_factori", "did you mean row_factory?"),
        ("database", "libpq calls it dbname"),
        ("ssl", "give sslmode"),
    ):
        error = refused(ConnectionManager, "host=db1", kwargs={name: CANARY})
        assert error.setting == "kwargs"
        assert repr(name) in error.problem
        assert remedy in error.remedy
    for conninfo, problem, remedy in (
        ("postgresql://app@db1/x?pool_size=5", "pool_size is not a connection", "max_size"),
        ("postgresql+asyncpg://app@db1/x?ssl=require", "ssl is not", "give sslmode"),
        ("postgresql://db1/x?user=a&schema=public", "schema is not", "search_path"),
        ("host=db1 dbnam=x", "a name in it is not", "did you mean dbname?"),
        ("host=db1 pasword=x", "a name in it is not", "did you mean password?"),
        ("host=db1 timeout=5", "timeout is not", "give timeout to ConnectionManager"),
        ("jdbc:postgresql://db1/x", "it is a URL for JDBC", "postgresql://user@host/db"),
        ("mysql://app@db1/x", "it is a URI of another kind", "begin it with postgresql://"),
        (f"host=db1 {CANARY}", "libpq can't read it", "check its quoting"),
    ):
        error = refused(ConnectionManager, conninfo)
        assert error.setting == "conninfo"
        assert problem in error.problem, conninfo
        assert remedy in error.remedy, conninfo


@pytest.mark.parametrize("driver", ["psycopg", "asyncpg", "psycopg2", "psycopg_async"])
def test_the_driver_in_a_url_of_sqlalchemys_is_dropped(driver: str) -> None:
    for scheme in ("postgresql", "postgres"):
        settings = ConnectionManager(f"{scheme}+{driver}://app:x@db1,db2:5433/orders")._settings
        assert [host.label for host in settings.hosts] == ["db1:5432", "db2:5433"]
        assert settings.params_of(settings.hosts[0])["dbname"] == "orders"


def test_the_names_are_those_of_the_constructor_and_none_of_theirs_is_one() -> None:
    parameters = inspect.signature(ConnectionManager).parameters
    assert (*ARGUMENTS, "unknown") == tuple(parameters)
    assert not set(ARGUMENTS) & {*RENAMED, *OTHERWISE}
    assert set(RENAMED.values()) <= set(ARGUMENTS)


def test_a_lower_max_size_lowers_the_min_size_that_was_not_given() -> None:
    cases: list[tuple[dict[str, Any], tuple[int, int]]] = [
        ({}, (4, 4)),
        ({"max_size": 2}, (2, 2)),
        ({"max_size": 9}, (4, 9)),
        ({"max_size": 0, "max_overflow": 1}, (0, 0)),
        ({"min_size": 1, "max_size": 2}, (1, 2)),
    ]
    for given, sizes in cases:
        manager = ConnectionManager("host=db1", **given)
        assert (manager.min_size, manager.max_size) == sizes
        assert {type(manager.min_size), type(manager.max_size)} == {int}
    error = refused(ConnectionManager, "host=db1", min_size=4, max_size=2)
    assert str(error) == (
        "max_size: 2 is less than min_size, which is 4; give as many or more, or a lower min_size"
    )


# -- values -------------------------------------------------------------------------------------


def generator(_: Any) -> Iterator[None]:
    yield


async def async_generator(_: Any) -> AsyncIterator[None]:
    yield


async def without_arguments() -> None: ...


DURATION = "is not a usable duration; give seconds, "
WRONG: list[tuple[dict[str, Any], str]] = [
    ({"timeout": None}, f"None {DURATION}more than 0; for no limit, a large number such as 1e9"),
    ({"timeout": float("inf")}, f"inf {DURATION}more than 0; for no limit, a large number"),
    ({"timeout": 0}, f"0 {DURATION}more than 0"),
    ({"timeout": "30"}, f"a str {DURATION}more than 0, as a number: float(...)"),
    ({"max_idle": dt.timedelta(1)}, f"a timedelta {DURATION}0 or more: its total_seconds()"),
    ({"max_time": -1}, f"-1 {DURATION}more than 0, or None for no limit"),
    ({"max_waiting": 1.5}, "1.5 is not a usable count; give a whole number, 0 or more"),
    ({"max_waiting": 10**400}, ""),
    ({"min_size": None}, "None is not a usable count; give a whole number, 0 or more"),
    ({"max_size": "10"}, "a str is not a usable count; give a whole number, 0 or more"),
    ({"max_size": -(10**400)}, "so large an int is not a usable count"),
    ({"max_tries": 0}, "0 is not a usable count; give 1 or more, or None for no limit"),
    ({"num_workers": True}, "True is not a usable count; give a whole number, 1 or more"),
    ({"target": "master"}, "prefer-standby; did you mean primary?"),
    ({"target": "read_only"}, "prefer-standby; did you mean read-only?"),
    ({"target": "replica"}, "prefer-standby; did you mean standby?"),
    ({"target": CANARY}, "unknown value; give one of any, read-write, "),
    ({"target": 5}, "5 is not an accepted value; give one of any"),
    ({"when_down": "raise"}, "give 'wait' or 'fail'; did you mean fail?"),
    ({"failback": "automatic"}, "give 'auto' or 'manual'; did you mean auto?"),
    ({"close_returns": 1}, "1 is neither True nor False"),
    ({"open": "yes"}, "a str is neither True nor False"),
    ({"name": 5}, "5; give a str in one line, or None"),
    ({"password": CANARY.encode()}, "it is a bytes; give a str or a function"),
    ({"kwargs": CANARY}, "it is a str; give a dict of names to values, or None"),
    ({"kwargs": {5: 6}}, "a name in it is not a str; give a dict"),
    ({"kwargs": {"autocommit": "on"}}, "autocommit is a str; give True or False"),
    ({"kwargs": {"prepare_threshold": -1}}, "prepare_threshold is -1; give a whole number"),
    ({"kwargs": {"context": 5}}, "context is 5; give an object with adapters"),
    ({"kwargs": {"row_factory": "dict"}}, "row_factory is a str; give a function"),
    ({"kwargs": {"user": ["app"]}}, "'user' is a list; give a str or a number"),
    ({"conninfo": None}, 'it is None; give "postgresql://user@host/db", or check that the env'),
    ({"conninfo": CANARY.encode()}, 'it is a bytes; give "postgresql://user@host/db"'),
    ({"conninfo": "", "hosts": "db1,db2"}, 'a str is not a list of addresses; give hosts=["db1"'),
    ({"conninfo": "", "hosts": []}, "an empty list is not a list of addresses"),
    ({"conninfo": "", "hosts": ["db1", ("db2", 5432)]}, "address 2 is a tuple"),
    ({"connection_class": psycopg.Connection}, "another kind is not a connection class for async"),
    (
        {"connection_class": "Own"},
        "a str is not a connection class for asyncio; derive it from",
    ),
    ({"configure": "set role app"}, "a str is not callable; give a function, or None"),
    (
        {"configure": without_arguments},
        "one argument; give a function without yield that takes the conn",
    ),
    ({"reconnect_failed": without_arguments}, "that takes the manager"),
    ({"on_event": lambda: None}, "that takes the event"),
    ({"check": async_generator}, "it is a generator function; give a function without yield"),
    ({"reset": generator}, "it is a generator function; give a function without yield"),
    ({"alerts": CANARY}, "a str is not a list of URLs; give a list"),
    ({"alerts": [5]}, "channel 1 is 5; give a list"),
]


@pytest.mark.parametrize(("values", "text"), WRONG, ids=lambda value: "-".join(value)[:30])
def test_a_wrong_value_is_answered_with_what_was_given_and_what_is_accepted(
    values: dict[str, Any], text: str
) -> None:
    if not text:
        ConnectionManager("host=db1", **values)
        return
    error = refused(functools.partial(ConnectionManager, **{"conninfo": "host=db1", **values}))
    assert error.setting == list(values)[-1]
    assert text in f"{error.problem}; {error.remedy}"


def test_every_argument_refuses_a_value_of_the_wrong_type_by_its_name() -> None:
    for name in ARGUMENTS:
        error = refused(ConnectionManager, **{name: dt.date(2026, 1, 1)})
        assert error.setting == name
        assert "a date" in error.problem or name == "connection_class"


def test_other_settings_are_answered_in_the_same_way() -> None:
    url = ["json://127.0.0.1"]
    for make, values, text in (
        (Retry, {"attempts": 0}, "0 is not a usable count; give 1 or more, or None for no limit"),
        (Retry, {"backoff_cap": None}, "None is not a usable duration; give seconds, more than 0"),
        (Retry, {"idempotent": "yes"}, "a str is neither True nor False"),
        (Alerts, {"channels": url, "after": "5"}, "a str is not a usable duration"),
        (Alerts, {"channels": url, "burst": 0}, "0 is not a usable count"),
        (Alerts, {"channels": url, "severities": {"outtage": None}}, "did you mean outage?"),
    ):
        assert text in str(refused(make, **values))


def test_an_integration_that_gets_a_conninfo_says_that_it_needs_a_manager() -> None:
    from aiohttp import web

    calls: list[Any] = [lifespan, create_async_engine, functools.partial(setup, web.Application())]
    for call in calls:
        with pytest.raises(TypeError, match="needs a ConnectionManager, not a str; make one"):
            call("postgresql://app@db1/orders")
    error = refused(create_async_engine, ConnectionManager("host=db1"), pool_size=5)
    assert str(error).endswith("ConnectionManager calls it max_size")


# -- where a warning points, and what is missing -------------------------------------------------


async def opened(manager: ConnectionManager) -> None:
    await manager.open()


async def opened_by_starlette(manager: ConnectionManager) -> None:
    async with lifespan(manager)(None):
        pass


async def opened_by_an_engine(manager: ConnectionManager) -> None:
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(manager)
        create_async_engine(manager)


@pytest.mark.parametrize("open_it", [opened, opened_by_starlette, opened_by_an_engine])
async def test_the_warning_about_transport_points_to_the_line_that_made_the_manager(
    open_it: Any,
) -> None:
    manager = ConnectionManager("host=192.0.2.1", min_size=1)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        await open_it(manager)
        await manager.close(timeout=0.1)
        at_once = ConnectionManager("host=192.0.2.1", min_size=1, open=True)
        await at_once.close(timeout=0.1)
    places = [item for item in caught if item.category is InsecureTransportWarning]
    lines = [linecache.getline(item.filename, item.lineno).strip() for item in places]
    assert lines == [
        'manager = ConnectionManager("host=192.0.2.1", min_size=1)',
        'at_once = ConnectionManager("host=192.0.2.1", min_size=1, open=True)',
    ]


WITHOUT = """
import ctypes.util, importlib, sys

ctypes.util.find_library = lambda name: None  # psycopg looks for libpq with it

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in sys.argv[1].split(","):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing())
for name in sys.argv[2].split(","):
    try:
        importlib.import_module(name)
    except ImportError as error:
        print(error)
"""


def said_without(missing: str, modules: str) -> list[str]:
    """Return what the imports of modules say where other modules are not installed."""
    command = [sys.executable, "-c", WITHOUT, missing, modules]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    return done.stdout.splitlines()


def test_an_integration_names_the_extra_that_is_missing() -> None:
    needs = {
        "pgmoor.fastapi": "fastapi",
        "pgmoor.starlette": "starlette",
        "pgmoor.aiohttp": "aiohttp",
        "pgmoor.sqlalchemy": "sqlalchemy",
        "pgmoor.prometheus": "prometheus_client",
        "pgmoor.otel": "opentelemetry",
    }
    said = said_without(",".join(needs.values()), ",".join(needs))
    assert len(said) == len(needs)
    for module, text in zip(needs, said, strict=True):
        extra = module.removeprefix("pgmoor.").replace("starlette", "fastapi")
        assert text.startswith(f"{module} needs ")
        assert text.endswith(f': pip install "pgmoor[{extra}]"')


def test_without_libpq_the_import_says_what_to_install() -> None:
    (said,) = said_without("psycopg_c,psycopg_binary", "pgmoor")
    assert said.startswith('psycopg can\'t load libpq: run pip install "pgmoor[binary]"')
