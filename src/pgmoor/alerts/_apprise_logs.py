"""Keeps what Apprise and the libraries below it log while they send an alert.

Their debug lines contain URLs, and a channel's URL is a secret: no handler gets these records.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

# The libraries of Apprise's own services. A plugin names further ones itself (`runtime_deps`).
LIBRARIES = frozenset({"apprise", "urllib3", "requests", "requests_oauthlib", "oauthlib"})

_thread = threading.local()


class _CapturingFilter(logging.Filter):
    """Keeps the records of threads inside `captured()`, and passes all others."""

    def filter(self, record: logging.LogRecord) -> bool:
        records: list[logging.LogRecord] | None = getattr(_thread, "records", None)
        if records is None:
            return True
        records.append(record)
        return False


_filter = _CapturingFilter()


@contextlib.contextmanager
def captured(libraries: frozenset[str] = frozenset()) -> Iterator[list[logging.LogRecord]]:
    """Keep the records that this thread logs with the loggers of Apprise and of *libraries*."""
    names = LIBRARIES | libraries
    # A filter does not see the records of a logger's children, so each child gets it and keeps it.
    for name in names | set(logging.root.manager.loggerDict):
        if name.partition(".")[0] in names:
            logging.getLogger(name).addFilter(_filter)  # a second time, this does nothing
    records: list[logging.LogRecord] = []
    _thread.records = records
    try:
        yield records
    finally:
        _thread.records = None
