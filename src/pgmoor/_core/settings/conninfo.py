"""From a conninfo, a URI, a service and PG* variables to libpq's parameters.

libpq does the parsing. Its error texts quote the input, so none of them is passed on.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

from psycopg import Error, pq
from psycopg.conninfo import make_conninfo

from pgmoor.errors import ConfigError

from .host_list import ADDRESS, exact
from .mistakes import remedy_for_parameter, shown, unreadable
from .service_file import read_service

if TYPE_CHECKING:
    from collections.abc import Mapping


# What psycopg's connect() takes itself; everything else in `kwargs` is a parameter of libpq.
CONNECT_ARGUMENTS = frozenset(
    {"autocommit", "prepare_threshold", "context", "row_factory", "cursor_factory"}
)


def parse(
    conninfo: str, overrides: Mapping[str, Any], *, with_hosts: bool = True
) -> dict[str, str]:
    """Return the parameters of *conninfo*, with *overrides*, a service file and PG* variables.

    The order of precedence is libpq's: given, then the service, then the environment. Raises
    `ConfigError` on anything that libpq does not take; its text never quotes the input. Without
    *with_hosts* the environment's hosts do not count: the program names them itself.
    """
    _check_uri(conninfo)
    given = _options(conninfo)
    for key, value in overrides.items():
        if value is not None:
            given[key] = _parameter("kwargs", key, value)
    _check_names("kwargs", given)
    service = given.get("service") or os.environ.get("PGSERVICE")
    if service:
        found = read_service(service, given.get("servicefile"))
        _check_names("service", found)
        checked = {key: _parameter("service", key, value) for key, value in found.items()}
        given = {**checked, **given}
    for key, variable in _ENVIRONMENT.items():
        value = os.environ.get(variable)
        if value and (with_hosts or key not in ADDRESS):
            given.setdefault(key, _parameter(variable, key, value))
    given.pop("service", None)
    given.pop("servicefile", None)
    return given


def _check_uri(conninfo: str) -> None:
    """Refuse a URI in which libpq would read a part of the password as something else.

    An unescaped @ or / in the password moves the rest of it into the host's or the database's
    name, which logs show. Both leave an @ where none belongs.
    """
    scheme, found, rest = conninfo.partition("://")
    if not found or scheme not in ("postgresql", "postgres"):
        return
    authority, _, path = rest.partition("?")[0].partition("/")
    if authority.count("@") > 1 or "@" in path:
        raise ConfigError(
            "conninfo",
            "the URI has an @ in the wrong place",
            "percent-encode the user name, the password and the database in it: @ is %40, / is %2F",
        )


_ENVIRONMENT = {
    "host": "PGHOST",
    "hostaddr": "PGHOSTADDR",
    "port": "PGPORT",
    "target_session_attrs": "PGTARGETSESSIONATTRS",
    "connect_timeout": "PGCONNECT_TIMEOUT",
}


def _parameter(setting: str, name: str, value: object) -> str:
    """Return *value* as libpq takes it."""
    if isinstance(value, bool) or not isinstance(value, str | int | float | os.PathLike):
        raise ConfigError(setting, f"{_quoted(name)} is {shown(value)}", "give a str or a number")
    try:
        if isinstance(value, os.PathLike):
            value = os.fspath(value)
        text = exact(value) if isinstance(value, str) else str(value)
        fits = "\0" not in text and bool(text.encode() or True)
    except Exception:  # noqa: BLE001  a class of one's own may raise anything; surrogates
        fits = False
    if not fits:
        raise ConfigError(
            setting,
            f"{_quoted(name)} holds a NUL character, or isn't valid text",
            "give text that UTF-8 can encode",
        )
    return text


def _quoted(name: str) -> str:
    """Return *name* if it looks like a parameter's name; anything else may be a secret."""
    return repr(name) if _NAME.fullmatch(name) else "a parameter"


_NAME = re.compile(r"[a-z][a-z_]{1,30}")


def _options(conninfo: str) -> dict[str, str]:
    try:
        if "\0" not in conninfo:  # for C the text would end there
            parsed = pq.Conninfo.parse(conninfo.encode())
            return {
                item.keyword.decode(): item.val.decode() for item in parsed if item.val is not None
            }
    except (Error, UnicodeError):
        pass  # their texts may quote the password
    if found := unreadable(conninfo, known_names()):
        raise ConfigError("conninfo", *found)
    raise ConfigError(
        "conninfo",
        "libpq can't read it",
        "check its quoting and the names of its parameters, and percent-encode the password in a"
        " URI; see https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING",
    )


def _check_names(setting: str, params: Mapping[str, str]) -> None:
    known = known_names()
    for name in params:
        if name not in known:
            remedy = remedy_for_parameter(name, known | CONNECT_ARGUMENTS)
            raise ConfigError(
                setting,
                f"{_quoted(name)} is not a connection parameter of this libpq",
                remedy or "correct its spelling, or remove it",
            )


def known_names() -> set[str]:
    """Return the names of the parameters that this libpq takes, and `servicefile`."""
    return {item.keyword.decode() for item in pq.Conninfo.get_defaults()} | {"servicefile"}


def check_by_libpq(params: Mapping[str, str]) -> None:
    """Raise `ConfigError` when libpq, before it connects to anything, refuses a parameter's value.

    It is asked to connect to a Unix socket that does not exist. What the environment says counts
    for it, too.
    """
    own = {"host": _NOWHERE, "hostaddr": "", "port": "1", "target_session_attrs": "any"}
    known = known_names()
    for name in _INTEGERS & params.keys():
        if not (_INTEGER.fullmatch(params[name]) and abs(int(params[name])) < 2**31):
            raise ConfigError(name, "it is not a whole number", "correct or remove it")
    asked = {**params, **own}
    for name in ("connect_timeout", "load_balance_hosts"):
        asked.pop(name, None)
    pgconn = pq.PGconn.connect_start(make_conninfo("", **asked).encode())
    said = pgconn.get_error_message()
    pgconn.finish()
    if f"{_NOWHERE}/.s.PGSQL.1" in said:
        return
    named = _REFUSED.match(said)
    setting = named[1].lower().replace(" ", "_") if named else ""
    raise ConfigError(
        setting if setting in known else "conninfo",
        "libpq refuses its value, alone or together with the other parameters",
        "correct it here, or in the environment;"
        " see https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-PARAMKEYWORDS",
    )


_NOWHERE = "/pgmoor-asks-libpq"
_REFUSED = re.compile(r'(?:invalid|weak) "?(SCRAM \w+ key|\w+)"?')
_INTEGER = re.compile(r"\s*[+-]?[0-9]{1,10}\s*", re.ASCII)
_INTEGERS = {
    *("keepalives", "keepalives_idle", "keepalives_interval", "keepalives_count"),
    "tcp_user_timeout",
}
