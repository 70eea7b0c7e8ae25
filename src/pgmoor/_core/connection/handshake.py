"""Connects as psycopg does, and learns the SQLSTATE of a server that refuses.

libpq hands over no SQLSTATE of a failed connect, and the text is in the server's language. With
its verbosity raised, the text contains the SQLSTATE.
"""

from __future__ import annotations

import ctypes
import re
import sys
from contextlib import suppress
from functools import cache
from time import monotonic
from typing import TYPE_CHECKING, Any

from psycopg import errors, pq
from psycopg.waiting import Wait

from .progress import DialProgress, progress

if TYPE_CHECKING:
    from collections.abc import Callable

    from psycopg.abc import PQGenConn
    from psycopg.pq.abc import PGconn

DEFAULT, VERBOSE = 1, 2  # PGVerbosity of libpq-fe.h
BAD = pq.ConnStatus.BAD
_WAITS: dict[int, Wait] = {pq.PollingStatus.READING: Wait.R, pq.PollingStatus.WRITING: Wait.W}
# What it adds to "FATAL:  text", whatever the language of the severity.
_CODE = re.compile(
    r"(?m)^((?:connection to server [^\n]* failed: )?[^\n:]{1,30}:  )([0-9A-Z]{5}): "
)
_LOCATION = re.compile(r"(?m)\n[^\n:]{1,30}:  \w+, [\w.]+:\d+$")


def connecting(conninfo: str) -> PQGenConn[PGconn]:
    """Return the connection that is made; psycopg's own generator, for `_connect_gen()`.

    Raises `OperationalError`, with `sqlstate` if the server has sent one.
    """
    dial = progress.get() or DialProgress()
    pgconn = pq.PGconn.connect_start(conninfo.encode())
    _set_verbosity(pgconn, VERBOSE)
    dial.connects(pgconn)
    try:
        while True:
            if pgconn.status == BAD:
                raise _failed("connection is bad", pgconn)
            status = pgconn.connect_poll()
            if status == pq.PollingStatus.OK:
                break
            if status not in _WAITS:
                raise _failed("connection failed", pgconn)
            began = monotonic()
            while not (yield pgconn.socket, _WAITS[status]):
                pass
            dial.waited(pgconn, monotonic() - began)
    finally:
        dial.ends(pgconn)
    _set_verbosity(pgconn, DEFAULT)
    pgconn.nonblocking = 1
    return pgconn


def _failed(what: str, pgconn: PGconn) -> errors.OperationalError:
    text, sqlstate = without_code(pgconn.get_error_message())
    error = errors.OperationalError(f"{what}: {text}", pgconn=errors.finish_pgconn(pgconn))
    error.sqlstate = sqlstate
    return error


def without_code(text: str) -> tuple[str, str | None]:
    """Return a verbose message as libpq writes it by default, and the first SQLSTATE in it."""
    found = _CODE.search(text)
    if found is None:
        return text, None
    return _LOCATION.sub("", _CODE.sub(r"\1", text)), found[2]


def _set_verbosity(pgconn: PGconn, verbosity: int) -> None:
    function, pointer = _libpq_function(), getattr(pgconn, "pgconn_ptr", None)
    if function is not None and pointer is not None:
        function(pointer, verbosity)


@cache
def _libpq_function() -> Callable[[int, int], Any] | None:
    """Return PQsetErrorVerbosity() of the libpq that psycopg uses, or None.

    psycopg does not offer it. Its compiled module has loaded libpq, and leads to it by name.
    """
    module: Any = sys.modules[pq.PGconn.__module__]
    with suppress(AttributeError, OSError):
        # psycopg's implementation in Python has the library itself.
        library = module.impl.pq if hasattr(module, "impl") else ctypes.CDLL(module.__file__)
        function = library["PQsetErrorVerbosity"]  # one of our own, and not psycopg's declaration
        function.argtypes = [ctypes.c_void_p, ctypes.c_int]
        function.restype = ctypes.c_int
        found: Callable[[int, int], Any] = function
        return found
    return None
