"""From a conninfo and `kwargs` to the parameters of libpq and the arguments of psycopg."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pgmoor.errors import ConfigError

from .conninfo import CONNECT_ARGUMENTS, check_by_libpq, known_names, parse
from .mistakes import refuse_arguments, shown, without_driver
from .validation import check_connect_arguments

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True, slots=True)
class ConnectParams:
    """What a conninfo and `kwargs` say; its repr shows no value."""

    libpq: dict[str, str] = field(repr=False)  # hosts included
    arguments: dict[str, Any] = field(repr=False)  # of `connect()`
    in_kwargs: frozenset[str]  # which parameters of libpq were given in `kwargs`

    def with_password(self, password: str) -> ConnectParams:
        """Return the same with another password, as if it were in `kwargs`."""
        libpq = {**self.libpq, "password": password}
        return ConnectParams(libpq, self.arguments, self.in_kwargs | {"password"})


def is_argument(name: str, *, own_connect: bool) -> bool:
    """Return whether *name* in `kwargs` is an argument of `connect()` and no parameter of libpq.

    *own_connect*: the connection class has a `connect()` of its own, which may take any argument.
    """
    if name in CONNECT_ARGUMENTS:
        return True
    return own_connect and name not in known_names() and name != "conninfo"


def refuse_unknown(names: Iterable[str]) -> None:
    """Raise `ConfigError` for the first of *names*, which are no arguments of the manager."""
    refuse_arguments(names, known_names() | CONNECT_ARGUMENTS)


def read_params(
    conninfo: object, kwargs: object, *, with_hosts: bool, own_connect: bool = False
) -> ConnectParams:
    """Return the parameters of libpq, and the arguments of `connect()`; raise `ConfigError`."""
    given = keywords(kwargs)
    names = [name for name in given if is_argument(name, own_connect=own_connect)]
    connect_args = {name: given.pop(name) for name in names}
    check_connect_arguments(connect_args)
    params = parse(_text(conninfo), given, with_hosts=with_hosts)
    if params.pop("load_balance_hosts", "disable") != "disable":
        raise ConfigError(
            "load_balance_hosts",
            "the order of the hosts is the order of preference here",
            "remove it",
        )
    check_by_libpq(params)
    params.setdefault("fallback_application_name", "pgmoor")
    return ConnectParams(params, connect_args, frozenset(params.keys() & given.keys()))


def keywords(kwargs: object) -> dict[str, Any]:
    """Return `kwargs` as a dictionary; raise `ConfigError` if it is no mapping of names."""
    if kwargs is None:
        return {}
    if isinstance(kwargs, Mapping):
        try:
            given = dict(kwargs)
        except Exception:  # noqa: BLE001  a mapping may be anyone's
            given = {None: None}
        if all(isinstance(key, str) for key in given):
            return given
    what = "a name in it is not a str" if isinstance(kwargs, Mapping) else f"it is {shown(kwargs)}"
    raise ConfigError("kwargs", what, "give a dict of names to values, or None")


def _text(conninfo: object) -> str:
    if isinstance(conninfo, str):
        return without_driver(conninfo)
    remedy = 'give "postgresql://user@host/db"'
    if conninfo is None:
        remedy += ", or check that the environment variable you read is set"
    raise ConfigError("conninfo", f"it is {shown(conninfo)}", remedy)
