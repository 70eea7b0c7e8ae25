"""The hosts of a conninfo or of `hosts=[...]`: names, addresses and ports, checked."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from pgmoor._core.hosts.host import Host
from pgmoor.errors import ConfigError

from .mistakes import shown

if TYPE_CHECKING:
    from collections.abc import Sequence

ADDRESS = ("host", "hostaddr", "port")
DEFAULT_PORT = 5432


def hosts_of(params: dict[str, str]) -> tuple[Host, ...]:
    """Remove host, hostaddr and port from *params*; return the hosts they name, in order.

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
        what = "an empty list" if isinstance(addresses, list | tuple) else shown(addresses)
        raise ConfigError(
            "hosts", f"{what} is not a list of addresses", 'give hosts=["db1", "db2:5433"]'
        )
    found = []
    for index, given in enumerate(addresses):
        if not isinstance(given, str):
            raise ConfigError(
                "hosts", f"address {index + 1} is {shown(given)}", 'give hosts=["db1:5432"]'
            )
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
    if any(not 0 < len(label) < 64 for label in name.removesuffix(".").split(".")):
        raise ConfigError(
            "host",
            "a host name is empty, or has a part that is empty or longer than 63 characters",
            "correct the list",
        )
    if not name.isprintable() or any(letter in "@,/?#\0" or letter.isspace() for letter in name):
        raise ConfigError(
            "host",
            "a host name holds a character that no host name can have",
            "percent-encode the user name and the password in a URI (@ is %40), or pass them"
            " separately",
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


def exact(text: str) -> str:
    """Return the characters of *text*: `str()` of a subclass, such as an Enum, may differ."""
    return "".join(text)


def distinct(hosts: tuple[Host, ...]) -> tuple[Host, ...]:
    """Return the hosts; raise `ConfigError` when one of them is listed twice."""
    if len({host.address for host in hosts}) < len(hosts):
        seen = [host.address for host in hosts]
        second = next(place for place, address in enumerate(seen) if address in seen[:place])
        what = f"address {second + 1} is the same as one before it"
        raise ConfigError("hosts", what, "name each server once")
    return hosts
