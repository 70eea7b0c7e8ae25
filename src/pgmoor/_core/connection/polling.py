"""What a socket has for its reader, by `poll()`, or by `select()` where a platform has no other."""

from __future__ import annotations

import select
import socket
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

try:
    import fcntl
    import termios
except ImportError:  # on Windows
    _CAN_COUNT = False
else:
    _CAN_COUNT = True

POLLIN = getattr(select, "POLLIN", 1)
_HUNG_UP = getattr(select, "POLLHUP", 16)
# A FIN shows as the first where the platform has it, a reset as one of the others.
ENDED = getattr(select, "POLLRDHUP", 0) | _HUNG_UP | getattr(select, "POLLERR", 8)
_A_READ = 16384  # bytes of libpq's buffer, which is what a read may bring


def poller(descriptor: int) -> Callable[[int], list[tuple[int, int]]]:
    """Return a function that tells within milliseconds what a socket is ready for."""
    if hasattr(select, "poll"):
        found = select.poll()
        found.register(descriptor, POLLIN | ENDED)
        return found.poll

    def by_select(milliseconds: int) -> list[tuple[int, int]]:
        try:
            readable, _, _ = select.select([descriptor], [], [], milliseconds / 1000)
        except (ValueError, OSError):  # closed, or a number beyond what select() takes
            return [(descriptor, POLLIN)]
        return [(descriptor, POLLIN | (_HUNG_UP if _at_end(descriptor) else 0))] if readable else []

    return by_select


def _at_end(descriptor: int) -> bool:
    """Return whether there is nothing more to read from a readable socket."""
    raw = socket.socket(fileno=descriptor)
    try:
        return not raw.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return False
    except OSError:
        return True
    finally:
        raw.detach()


def bytes_waiting(descriptor: int) -> int:
    """Return how many bytes can be read; where nobody can tell, how many one read may bring."""
    if not _CAN_COUNT:
        return _A_READ
    return _count(descriptor, termios.FIONREAD)


def bytes_unacknowledged(descriptor: int) -> int:
    """Return how many sent bytes the peer has not acknowledged; 0 where nobody can tell."""
    return _count(descriptor, termios.TIOCOUTQ) if _CAN_COUNT else 0


def _count(descriptor: int, question: int) -> int:
    return int.from_bytes(fcntl.ioctl(descriptor, question, b"\0" * 4), sys.byteorder)
