"""Keeps the loggers of psycopg and psycopg_pool from repeating what pgmoor logs itself.

psycopg logs what a server said about a failed login, and that may contain the password. pgmoor logs
the same with secrets redacted.
"""

from __future__ import annotations

import logging
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_dialling: ContextVar[bool] = ContextVar("pgmoor_dialling", default=False)


class FailedDials(logging.Filter):
    """Drops psycopg's records on failed connections while pgmoor dials."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not (_dialling.get() and str(record.msg).startswith("connection failed"))


logging.getLogger("psycopg").addFilter(FailedDials())


@contextmanager
def without_dial_logs() -> Iterator[None]:
    """Have psycopg log nothing of the connections that fail in this block."""
    token = _dialling.set(True)
    try:
        yield
    finally:
        _dialling.reset(token)


class WarningsAbout(logging.Filter):
    """Drops psycopg_pool's warnings about each connection that breaks or is given up.

    When a host fails there would be a dozen. pgmoor logs one, with the host and the reason.
    """

    def __init__(self, *kinds: type) -> None:
        super().__init__()
        self._kinds = kinds

    def filter(self, record: logging.LogRecord) -> bool:
        args = record.args if isinstance(record.args, tuple) else ()
        ours = any(isinstance(arg, self._kinds) for arg in args)
        return not (ours and record.levelno == logging.WARNING)
