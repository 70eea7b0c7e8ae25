"""Names to addresses, by the system's resolver, which may hang for as long as it likes."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import threading
from contextlib import suppress


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

    The resolver can't be interrupted. It runs in a daemon thread, so that one that hangs neither
    holds up the other users of the loop's executor nor the end of the program.
    """
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[tuple[str, ...]] = loop.create_future()

    def settle(found: tuple[str, ...] | OSError) -> None:
        if answer.done():
            return
        if isinstance(found, OSError):
            answer.set_exception(found)
        else:
            answer.set_result(found)

    def work() -> None:
        found: tuple[str, ...] | OSError
        try:
            infos = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)
            found = tuple(dict.fromkeys(str(info[4][0]) for info in infos))
        except OSError as error:
            found = error
        except UnicodeError:  # a name that no resolver could take
            found = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        with suppress(RuntimeError):  # the loop is closed by now
            loop.call_soon_threadsafe(settle, found)

    threading.Thread(target=work, name="pgmoor-resolve", daemon=True).start()
    return await answer
