"""ConnectionManager takes every call that AsyncConnectionPool takes."""

from __future__ import annotations

import inspect
import itertools
from typing import Any

from psycopg_pool import AsyncConnectionPool, AsyncNullConnectionPool

from pgmoor import ConnectionManager
from pgmoor._core.manager.as_pool import ManagerPool

# Not documented by psycopg_pool, and of no use outside.
INNER = {"run_task", "schedule_task", "worker", "reconnect_failed"}
# Attributes that would show a password.
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


def test_the_constructor_takes_every_argument_with_the_same_default() -> None:
    ours = parameters(ConnectionManager)
    for theirs in (AsyncConnectionPool, AsyncNullConnectionPool):
        for name, parameter in parameters(theirs).items():
            assert name in ours
            assert ours[name].kind is parameter.kind
            if (theirs, name) != (AsyncNullConnectionPool, "min_size"):  # give it, and max_idle=0
                assert ours[name].default == parameter.default, name


def test_every_method_takes_the_same_arguments() -> None:
    for name, owner in itertools.product(METHODS, (ConnectionManager, ManagerPool)):
        ours, theirs = (parameters(getattr(kind, name)) for kind in (owner, AsyncConnectionPool))
        for argument, parameter in theirs.items():
            assert ours[argument].kind is parameter.kind, name
            if (name, argument) != ("close", "timeout"):  # None here: `close_timeout`, 5 s as well
                assert ours[argument].default == parameter.default, name
        extra = list(ours.values())[len(theirs) :]
        assert all(parameter.default is not parameter.empty for parameter in extra), name


async def test_every_attribute_has_the_same_value() -> None:
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
    theirs: Any = AsyncConnectionPool("host=db1", **settings)
    ours = ConnectionManager("host=db1", **settings)
    names = {name for name in dir(theirs) if not name.startswith("_")} - SECRET - INNER
    as_pool = ours.as_pool()
    for name in names - set(METHODS):
        assert getattr(ours, name) == getattr(theirs, name), name
        if name != "connection_class":  # a subclass of it, which has the manager dial
            assert getattr(as_pool, name) == getattr(theirs, name), name
