"""Each call that AsyncConnectionPool takes is one that ConnectionManager takes."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
from psycopg_pool import AsyncConnectionPool, AsyncNullConnectionPool

from pgmoor import ConnectionManager

# Not documented by psycopg_pool, and of no use from outside.
INNER = {"run_task", "schedule_task", "worker", "reconnect_failed"}
# Their names would have to hold what must not be shown.
SECRET = {"conninfo", "kwargs"}


def parameters(function: Any) -> dict[str, inspect.Parameter]:
    return {
        name: value
        for name, value in inspect.signature(function).parameters.items()
        if name != "self"
    }


METHODS = [
    name
    for name, member in inspect.getmembers(AsyncConnectionPool, callable)
    if not name.startswith("_") and name not in INNER
]


@pytest.mark.parametrize("theirs", [AsyncConnectionPool, AsyncNullConnectionPool])
def test_the_constructor_takes_every_argument_with_the_same_default(theirs: Any) -> None:
    ours = parameters(ConnectionManager)
    for name, parameter in parameters(theirs).items():
        assert name in ours
        assert ours[name].kind is parameter.kind
        if (theirs, name) != (AsyncNullConnectionPool, "min_size"):  # give it, and max_idle=0
            assert ours[name].default == parameter.default, name


@pytest.mark.parametrize("name", METHODS)
def test_every_method_takes_the_same_arguments(name: str) -> None:
    ours, theirs = (
        parameters(getattr(owner, name)) for owner in (ConnectionManager, AsyncConnectionPool)
    )
    for argument, parameter in theirs.items():
        assert ours[argument].kind is parameter.kind
        if (name, argument) == ("close", "timeout"):
            continue  # None here: `close_timeout`, which is 5 s as theirs
        assert ours[argument].default == parameter.default
    extra = list(ours.values())[len(theirs) :]
    assert all(parameter.default is not parameter.empty for parameter in extra)


async def test_every_attribute_is_there_with_the_same_value() -> None:
    settings: dict[str, Any] = {
        "min_size": 2,
        "max_size": 3,
        "name": "orders",
        "timeout": 4.0,
        "max_waiting": 5,
        "max_lifetime": 6.0,
        "max_idle": 7.0,
        "reconnect_timeout": 8.0,
        "num_workers": 9,
        "close_returns": True,
        "open": False,
    }
    theirs, ours = (
        owner("host=db1", **settings) for owner in (AsyncConnectionPool, ConnectionManager)
    )
    names = {name for name in dir(theirs) if not name.startswith("_")} - SECRET - INNER
    for name in names - set(METHODS):
        assert getattr(ours, name) == getattr(theirs, name), name
