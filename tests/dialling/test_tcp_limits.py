"""A peer that vanished is noticed by the kernel in 10 s, even under a query that waits."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgmoor.testing import Cluster

DEFAULTS = {
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE): 1,
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE): 5,  # seconds
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL): 1,
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT): 5,
    (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT): 10_000,  # milliseconds
}


def limits(descriptor: int) -> dict[tuple[int, int], int]:
    """Return the socket options of a connection."""
    with socket.socket(fileno=os.dup(descriptor)) as sock:
        return {option: sock.getsockopt(*option) for option in DEFAULTS}


def sockets_to(port: int) -> list[int]:
    """Return the descriptors of this process's connections to a port."""
    found = []
    for path in Path("/proc/self/fd").iterdir():
        with suppress(OSError):  # the listing's own is closed by now, and some are not connected
            if not str(path.readlink()).startswith("socket:"):
                continue
            with socket.socket(fileno=os.dup(int(path.name))) as sock:
                if sock.family == socket.AF_INET and sock.getpeername()[1] == port:
                    found.append(int(path.name))
    return found


async def test_every_connection_has_limits_by_default_the_probes_included(
    alone: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(*alone, min_size=3)
    await manager.wait()

    found = sockets_to(alone[0].port)

    assert len(found) == 3 + 1
    assert all(limits(descriptor) == DEFAULTS for descriptor in found)


async def test_limits_in_kwargs_replace_the_defaults(
    alone: Cluster, moor: Callable[..., Any]
) -> None:
    kwargs = {"tcp_user_timeout": 3000, "keepalives_idle": 60}
    manager = await moor(*alone, min_size=1, kwargs=kwargs)
    async with manager.connection() as conn:
        found = limits(conn.fileno())

    assert found == {
        **DEFAULTS,
        (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT): 3000,
        (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE): 60,
    }
