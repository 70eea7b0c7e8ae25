"""Keeps what Apprise and the libraries below it log while they work for us.

Their debug lines carry URLs, and a channel's URL is a secret: none of them reaches a handler.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

# What Apprise and its services use. A plugin names further ones itself (`runtime_deps`).
LIBRARIES = frozenset({"apprise", "urllib3", "requests", "requests_oauthlib", "oauthlib"})

_thread = threading.local()


class _Keeper(logging.Filter):
    """Takes the records of threads that capture, and lets all others pass."""

    def filter(self, record: logging.LogRecord) -> bool:
        records: list[logging.LogRecord] | None = getattr(_thread, "records", None)
        if records is None:
            return True
        records.append(record)
        return False


_keeper = _Keeper()


@contextlib.contextmanager
def captured(libraries: frozenset[str] = frozenset()) -> Iterator[list[logging.LogRecord]]:
    """Take what this thread logs through the loggers of *libraries* and of Apprise."""
    wanted = LIBRARIES | libraries
    # A filter on a logger does not see its children's records: each gets one, and keeps it.
    for name in wanted | set(logging.root.manager.loggerDict):
        if name.partition(".")[0] in wanted:
            logging.getLogger(name).addFilter(_keeper)  # adding it twice does nothing
    records: list[logging.LogRecord] = []
    _thread.records = records
    try:
        yield records
    finally:
        _thread.records = None
