"""From a conninfo, a URI, a service, PG* variables or `hosts=` to hosts and parameters.

libpq does the parsing; its error texts quote the input, so none of them is ever passed on.
"""

from __future__ import annotations

import os
import re
import socket
from typing import TYPE_CHECKING, Any

from psycopg import Error, pq
from psycopg.conninfo import make_conninfo

from .errors import ConfigError
from .hosts import Host
from .services import read_service

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

DEFAULT_PORT = 5432


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
    """Refuse a URI in which libpq would take a part of the password for something else.

    An unescaped @ or / in the password moves the rest of it into the host's or the database's
    name, which are shown. Both leave an @ where none belongs.
    """
    scheme, found, rest = conninfo.partition("://")
    if not found or scheme not in ("postgresql", "postgres"):
        return
    authority, _, path = rest.partition("?")[0].partition("/")
    if authority.count("@") > 1 or "@" in path:
        raise ConfigError(
            "conninfo",
            "the URI holds an @ where none belongs",
            "percent-encode the user name, the password and the database in it: @ is %40, / is %2F",
        )


ADDRESS = ("host", "hostaddr", "port")
_ENVIRONMENT = {
    "host": "PGHOST",
    "hostaddr": "PGHOSTADDR",
    "port": "PGPORT",
    "target_session_attrs": "PGTARGETSESSIONATTRS",
    "connect_timeout": "PGCONNECT_TIMEOUT",
}


def hosts_of(params: dict[str, str]) -> tuple[Host, ...]:
    """Take host, hostaddr and port out of *params* and return the hosts they name, in order.

    Raises `ConfigError` when the lists don't match, or a name or a port can't be one.
    """
    names = _split(params.pop("host", ""))
    addresses = _split(params.pop("hostaddr", ""))
    ports = _split(params.pop("port", ""))
    if names and addresses and len(names) != len(addresses):
        raise ConfigError(
            "hostaddr",
            f"{len(addresses)} addresses for {len(names)} hosts",
            "give one address for each host, or none",
        )
    count = max(len(names), len(addresses), 1)
    if len(ports) not in (0, 1, count):
        raise ConfigError(
            "port", f"{len(ports)} ports for {count} hosts", "give one port, or one for each host"
        )
    if len(ports) < count:
        ports = (ports or [""]) * count
    return tuple(
        Host(
            index=index,
            host=_host_name(names[index]) if names else "",
            port=_port(ports[index]),
            hostaddr=_address(addresses[index]) if addresses else None,
        )
        for index in range(count)
    )


def hosts_from(addresses: Sequence[str], default_port: str = "") -> tuple[Host, ...]:
    """Return the hosts of `hosts=["db1", "db2:5433", "[::1]:5432", "/run/postgresql"]`."""
    if not isinstance(addresses, list | tuple) or not addresses:
        raise ConfigError("hosts", "it is not a list of addresses", 'give hosts=["db1", "db2"]')
    found = []
    for index, given in enumerate(addresses):
        if not isinstance(given, str):
            raise ConfigError("hosts", "an address is not a string", 'give hosts=["db1:5432"]')
        address = exact(given)
        name, port = address, ""
        if address.startswith("["):
            name, _, rest = address[1:].partition("]")
            port = rest.removeprefix(":") if rest.startswith(":") or not rest else "none"
        elif address.count(":") == 1:
            name, _, port = address.partition(":")
        if not name:
            raise ConfigError("hosts", "an address is empty", 'give each as "host" or "host:port"')
        found.append(Host(index, _host_name(name), _port(port or default_port)))
    return tuple(found)


def _split(value: str) -> list[str]:
    return value.split(",") if value else []


def _host_name(name: str) -> str:
    # An unescaped "@" in a URI's password leaves half of the password in the host's name.
    if name.startswith(("/", "@")) and name.isprintable():
        return name  # the directory of a Unix socket, or one in the abstract namespace
    if (
        not name.isprintable()
        or any(letter in "@,/?#\0" or letter.isspace() for letter in name)
        or any(not 0 < len(label) < 64 for label in name.removesuffix(".").split("."))
    ):
        raise ConfigError(
            "host",
            "a host name holds a character that no host name can have",
            "percent-encode the user name and the password in a URI (@ is %40), or pass them apart",
        )
    return name


def _address(text: str) -> str | None:
    if not text:
        return None
    try:
        socket.getaddrinfo(text, None, flags=socket.AI_NUMERICHOST)  # as libpq does
    except (OSError, UnicodeError):
        raise ConfigError("hostaddr", "it is not an IP address", "give a name as host") from None
    return text


def _port(text: str) -> int:
    if not text:
        return DEFAULT_PORT
    if text.isascii() and text.isdigit() and len(text) <= 5 and 1 <= int(text) <= 65535:
        return int(text)
    raise ConfigError("port", "it is not a number from 1 to 65535", "give the server's port")


def _parameter(setting: str, name: str, value: object) -> str:
    """Return *value* as libpq takes it."""
    if isinstance(value, bool) or not isinstance(value, str | int | float | os.PathLike):
        raise ConfigError(
            setting, f"{_quoted(name)} has a value of the wrong type", "give a str or a number"
        )
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
            f"{_quoted(name)} holds a NUL character, or what is no text",
            "give text that can be encoded in UTF-8",
        )
    return text


def exact(text: str) -> str:
    """Return what is in *text*; a subclass, such as an Enum, may show itself as something else."""
    return "".join(text)


def _quoted(name: str) -> str:
    """Return *name* if it looks like a parameter's; what stands in its place may be a secret."""
    return repr(name) if _NAME.fullmatch(name) else "a parameter"


_NAME = re.compile(r"[a-z][a-z_]{1,30}")


def _options(conninfo: str) -> dict[str, str]:
    try:
        if "\0" not in conninfo:  # C would take the text to end there
            parsed = pq.Conninfo.parse(conninfo.encode())
            return {
                item.keyword.decode(): item.val.decode() for item in parsed if item.val is not None
            }
    except (Error, UnicodeError):
        pass  # what they say may quote the password
    raise ConfigError(
        "conninfo",
        "libpq can't read it",
        "check its quoting and the names of its parameters, and percent-encode the password in a"
        " URI; see https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING",
    )


def _check_names(setting: str, params: Mapping[str, str]) -> None:
    known = _known_names() | {"servicefile"}
    for name in params:
        if name not in known:
            raise ConfigError(
                setting,
                f"{_quoted(name)} is not a connection parameter of this libpq",
                "correct its spelling, or remove it",
            )


def _known_names() -> set[str]:
    return {item.keyword.decode() for item in pq.Conninfo.get_defaults()}


def check_by_libpq(params: Mapping[str, str]) -> None:
    """Raise `ConfigError` when libpq, before it connects to anything, refuses a parameter's value.

    It is asked to connect to a Unix socket that does not exist. What the environment says counts
    for it, too.
    """
    own = {"host": _NOWHERE, "hostaddr": "", "port": "1", "target_session_attrs": "any"}
    known = _known_names()
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
        "libpq does not take its value, or not together with the others",
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
