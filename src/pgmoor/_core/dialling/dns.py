"""Names to addresses, by the system's resolver, which may hang."""

from __future__ import annotations

import ipaddress
import socket

from pgmoor._core.util.asynctools import in_daemon_thread


def needs_resolving(name: str) -> bool:
    """Return whether *name* is a host name: no address, and no directory of a Unix socket."""
    if not name or name.startswith(("/", "@")):
        return False
    try:
        ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        return True
    return False


async def resolve(name: str, port: int) -> tuple[str, ...]:
    """Return the addresses of *name*, in the resolver's order; raise `socket.gaierror`.

    The resolver can't be interrupted, so it runs in a daemon thread of its own.
    """
    return await in_daemon_thread(lambda: _addresses(name, port), "pgmoor-resolve").result()


def _addresses(name: str, port: int) -> tuple[str, ...]:
    try:
        infos = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)
    except UnicodeError:  # a name that no resolver could take
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known") from None
    return tuple(dict.fromkeys(str(info[4][0]) for info in infos))
