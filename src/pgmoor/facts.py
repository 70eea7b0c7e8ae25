"""From a server's answer to what it says of itself; an answer that can't be one is refused."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

from psycopg import pq

from .answer import NoAnswer
from .hosts import Facts

if TYPE_CHECKING:
    from psycopg.pq.abc import PGresult

NEWEST_TIMELINE = 2**31 - 1  # the question's own arithmetic ends there
LONG = 2**64 - 1
_NUMBER = re.compile(rb"-?[0-9]{1,20}")
_SECONDS = re.compile(rb"-?[0-9]{1,20}(\.[0-9]{1,20})?(e[+-]?[0-9]{1,3})?")
_INSTANT = re.compile(rb"[ -~]{1,64}")  # as DateStyle and TimeZone want it


def full_facts(results: list[PGresult], backend_pid: int) -> Facts:
    """Return what the answer to the full question says; raise `NoAnswer` when it is none."""
    recovery, read_only, timeline, system_id, lag, started, pid = _row(results, 7)
    if recovery not in (b"t", b"f") or read_only not in (b"on", b"off"):
        raise _nonsense()
    return Facts(
        in_recovery=recovery == b"t",
        writable=read_only == b"off" and recovery == b"f",
        timeline=_number(timeline, NEWEST_TIMELINE) or None,
        system_id=_number(system_id, LONG) or None,
        lag=_seconds(lag),
        started=_instant(started),
        # A pooler invents the process id that it gives its clients for cancel requests.
        pooled=None if pid is None else _number(pid, LONG) != backend_pid,
    )


def plain_facts(results: list[PGresult]) -> Facts:
    """Return what the answer to the plain question says; raise `NoAnswer` when it is none."""
    (read_only,) = _row(results, 1)
    if read_only not in (b"on", b"off"):
        raise _nonsense()
    return Facts(writable=read_only == b"off")


def _row(results: list[PGresult], columns: int) -> list[bytes | None]:
    """Return the only row of the only result."""
    if len(results) == 1:
        result = results[0]
        shape = (result.status, result.ntuples, result.nfields)
        if shape == (pq.ExecStatus.TUPLES_OK, 1, columns):
            return [result.get_value(0, column) for column in range(columns)]
    raise _nonsense()


def _number(text: bytes | None, most: int) -> int | None:
    if text is None:
        return None
    if not _NUMBER.fullmatch(text) or abs(int(text)) > most:
        raise _nonsense()
    return int(text)


def _seconds(text: bytes | None) -> float | None:
    if text is None:
        return None
    if not _SECONDS.fullmatch(text) or not math.isfinite(float(text)):
        raise _nonsense()
    return float(text)


def _instant(text: bytes | None) -> str | None:
    if text is None:
        return None
    if not _INSTANT.fullmatch(text):
        raise _nonsense()
    return text.decode()


def _nonsense() -> NoAnswer:
    # Not quoted: a server can answer with whatever it likes.
    return NoAnswer("its answer to a health check makes no sense")
