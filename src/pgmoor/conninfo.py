"""From a conninfo, a URI, a service, PG* variables or `hosts=` to hosts and parameters.

libpq does the parsing; its error texts quote the input, so none of them is ever passed on.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from psycopg import Error, pq

from .errors import ConfigError
from .hosts import Host

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

DEFAULT_PORT = 5432


def parse(conninfo: str, overrides: Mapping[str, Any]) -> dict[str, str]:
    """Return the parameters of *conninfo*, with *overrides*, a service file and PG* variables.

    The order of precedence is libpq's: given, then the service, then the environment. Raises
    `ConfigError` on anything that libpq does not take; its text never quotes the input.
    """
    given = _options("conninfo", conninfo)
    for key, value in overrides.items():
        if value is not None:
            given[key] = str(value)
    _check_names(given)
    service = given.get("service") or os.environ.get("PGSERVICE")
    if service:
        for key, value in _read_service(service, given.get("servicefile")).items():
            given.setdefault(key, value)
    for key in ("host", "hostaddr", "port", "target_session_attrs", "connect_timeout"):
        if variable := os.environ.get(_ENVIRONMENT[key]):
            given.setdefault(key, variable)
    given.pop("service", None)
    given.pop("servicefile", None)
    return given


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
            hostaddr=addresses[index] if addresses else None,
        )
        for index in range(count)
    )


def hosts_from(addresses: Sequence[str]) -> tuple[Host, ...]:
    """Return the hosts of `hosts=["db1", "db2:5433", "[::1]:5432", "/run/postgresql"]`."""
    if isinstance(addresses, str) or not addresses:
        raise ConfigError("hosts", "it is not a list of addresses", 'give hosts=["db1", "db2"]')
    found = []
    for index, address in enumerate(addresses):
        if not isinstance(address, str):
            raise ConfigError("hosts", "an address is not a string", 'give hosts=["db1:5432"]')
        name, port = address, ""
        if address.startswith("["):
            name, _, rest = address[1:].partition("]")
            port = rest.removeprefix(":")
        elif address.count(":") == 1:
            name, _, port = address.partition(":")
        if not name:
            raise ConfigError("hosts", "an address is empty", 'give each as "host" or "host:port"')
        found.append(Host(index, _host_name(name), _port(port)))
    return tuple(found)


def _split(value: str) -> list[str]:
    return value.split(",") if value else []


def _host_name(name: str) -> str:
    # An unescaped "@" in a URI's password leaves half of the password in the host's name.
    if "@" in name[1:] or any(letter.isspace() for letter in name):
        raise ConfigError(
            "host",
            "a host name holds a character that no host name can have",
            "percent-encode the user name and the password in a URI (@ is %40), or pass them apart",
        )
    return name


def _port(text: str) -> int:
    if not text:
        return DEFAULT_PORT
    if text.isascii() and text.isdigit() and 1 <= int(text) <= 65535:
        return int(text)
    raise ConfigError("port", "it is not a number from 1 to 65535", "give the server's port")


def _options(setting: str, conninfo: str) -> dict[str, str]:
    try:
        parsed = pq.Conninfo.parse(conninfo.encode())
        return {item.keyword.decode(): item.val.decode() for item in parsed if item.val is not None}
    except (Error, UnicodeError, AttributeError):
        pass  # what they say may quote the password
    raise ConfigError(
        setting,
        "libpq can't read it",
        "check its quoting and the names of its parameters, and percent-encode the password in a"
        " URI; see https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING",
    )


def _check_names(params: Mapping[str, str]) -> None:
    known = {item.keyword.decode() for item in pq.Conninfo.get_defaults()} | {"servicefile"}
    for name in params:
        if name not in known:
            raise ConfigError(
                "kwargs",
                f"{name!r} is not a connection parameter of this libpq",
                "correct its spelling, or remove it",
            )


def _read_service(service: str, path: str | None) -> dict[str, str]:
    """Return one section of the connection service file (libpq, section 32.17)."""
    places = [path or os.environ.get("PGSERVICEFILE") or str(Path.home() / ".pg_service.conf")]
    if directory := os.environ.get("PGSYSCONFDIR"):
        places.append(str(Path(directory) / "pg_service.conf"))
    for place in places:
        try:
            lines = Path(place).read_text(encoding="utf-8").splitlines()
        except OSError:
            continue
        if (found := _section(lines, service)) is not None:
            return found
    raise ConfigError(
        "service",
        "no service file holds a section of that name",
        "check the name, PGSERVICEFILE and ~/.pg_service.conf",
    )


def _section(lines: Sequence[str], name: str) -> dict[str, str] | None:
    found: dict[str, str] | None = None
    for raw in lines:
        line = raw.strip()
        if line.startswith("["):
            if found is not None:
                break
            if line == f"[{name}]":
                found = {}
        elif found is not None and line and not line.startswith("#"):
            key, _, value = line.partition("=")
            found.setdefault(key.strip(), value.strip())
    return found
