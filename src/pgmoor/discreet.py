"""Keeps what servers say out of psycopg's own log while pgmoor dials: it may hold a password.

pgmoor says the same in its own log, without the password.
"""

from __future__ import annotations

import logging
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_dialling: ContextVar[bool] = ContextVar("pgmoor_dialling", default=False)


class Discreet(logging.Filter):
    """Holds back psycopg's log lines on failed connections that are pgmoor's."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not (_dialling.get() and str(record.msg).startswith("connection failed"))


logging.getLogger("psycopg").addFilter(Discreet())


@contextmanager
def discreetly() -> Iterator[None]:
    """Have psycopg say nothing of the connections that fail in this block."""
    token = _dialling.set(True)
    try:
        yield
    finally:
        _dialling.reset(token)
