"""What psycopg_pool need not say, because pgmoor says it."""

from __future__ import annotations

import logging

from .connection import ManagedConnection
from .dial import HostLeft


class SaidElsewhere(logging.Filter):
    """Keeps psycopg_pool from warning of each connection that breaks or is given up.

    When a host fails that is a dozen lines; pgmoor says it in one, with the host and the reason.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        args = record.args if isinstance(record.args, tuple) else ()
        ours = any(isinstance(arg, ManagedConnection | HostLeft) for arg in args)
        return not (ours and record.levelno == logging.WARNING)
