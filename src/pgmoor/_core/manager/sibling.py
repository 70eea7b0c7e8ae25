"""The arguments of a manager for another database of the same servers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pgmoor._core.settings.mistakes import shown
from pgmoor._core.util.asynctools import value_of
from pgmoor._core.util.secrets import Hidden
from pgmoor.errors import ConfigError

if TYPE_CHECKING:
    from pgmoor._core.failover.host_watch import HostWatch


def arguments_of(variables: Mapping[str, Any]) -> Hidden[dict[str, Any]]:
    """Return the arguments of a constructor, from the local variables at its begin."""
    return Hidden({name: variables[name] for name in variables if name not in ("self", "unknown")})


def sibling_arguments(
    given: Hidden[dict[str, Any]],
    dbname: object,
    changes: Mapping[str, Any],
    *,
    name: str,
    watch: HostWatch,
) -> dict[str, Any]:
    """Return the *given* arguments of a manager with another database, and with *changes*.

    Raises `ConfigError` if *dbname* can't be a database's name.
    """
    if not isinstance(dbname, str) or not dbname or not dbname.isprintable():
        what = "it is empty, or not in one line" if isinstance(dbname, str) else shown(dbname)
        raise ConfigError("dbname", what, "give the name of a database")
    own = {"name": f"{name}-{dbname}", "watch": watch, "open": None, "alerts": None}
    arguments = {**given.reveal(), **own, **changes}
    arguments["kwargs"] = _with_database(arguments["kwargs"], dbname)
    return arguments


def _with_database(kwargs: Any, dbname: str) -> Any:
    if kwargs is None or isinstance(kwargs, Mapping):
        return {**(kwargs or {}), "dbname": dbname}
    if not callable(kwargs):
        return kwargs  # the constructor says what is wrong with it

    async def call() -> dict[str, Any]:
        return {**(await value_of(kwargs)), "dbname": dbname}

    return call
