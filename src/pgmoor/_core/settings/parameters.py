"""From a conninfo and `kwargs` to the parameters of libpq and the arguments of psycopg."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pgmoor.errors import ConfigError

from .conninfo import check_by_libpq, parse
from .validation import check_connect_arguments

# What psycopg's connect() takes itself; everything else in `kwargs` is a parameter of libpq.
CONNECT_ARGUMENTS = frozenset(
    {"autocommit", "prepare_threshold", "context", "row_factory", "cursor_factory"}
)


def read_params(
    conninfo: object, kwargs: object, *, with_hosts: bool
) -> tuple[dict[str, str], dict[str, Any]]:
    """Return the parameters of libpq, hosts included, and the arguments of psycopg's `connect()`.

    Raises `ConfigError`.
    """
    given = keywords(kwargs)
    connect_args = {key: given.pop(key) for key in CONNECT_ARGUMENTS & given.keys()}
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
    return params, connect_args


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
    raise ConfigError("kwargs", "it is not a mapping of names to values", "give a dict, or None")


def _text(conninfo: object) -> str:
    if isinstance(conninfo, str):
        return conninfo
    raise ConfigError("conninfo", "it is not a string", 'give "postgresql://user@host/db"')
