"""Totals of checkouts and dials, and the names that psycopg_pool gives them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgmoor.instruments import Instrument

if TYPE_CHECKING:
    from pgmoor.instruments import Ended


class Counters:
    """Totals since the start or the last `pop_stats()`; names as in psycopg_pool."""

    def __init__(self) -> None:
        self.requests_num = 0
        self.requests_queued = 0
        self.requests_errors = 0
        self.requests_wait: float = 0.0  # seconds
        self.usage: float = 0.0  # seconds
        self.returns_bad = 0
        self.connections_lost = 0

    def to_dict(self) -> dict[str, int]:
        """Return the totals as `AsyncConnectionPool.get_stats()` names them, in its units."""
        return {
            "requests_num": self.requests_num,
            "requests_queued": self.requests_queued,
            "requests_errors": self.requests_errors,
            "requests_wait_ms": int(self.requests_wait * 1000),
            "usage_ms": int(self.usage * 1000),
            "returns_bad": self.returns_bad,
            "connections_lost": self.connections_lost,
        }


class DialCounter(Instrument):
    """Totals of the dials of all pools; names as in psycopg_pool, where retries count as well."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Start again from 0."""
        self.attempts = 0
        self.failures = 0
        self.seconds = 0.0  # of the successful ones

    def dialling(self, host: str) -> Ended:  # noqa: ARG002  the sum of all hosts is wanted
        """Count an attempt, and how it ends."""
        self.attempts += 1
        return self._ended

    def _ended(self, outcome: BaseException | str | None) -> None:
        self.failures += outcome is not None

    def dialled(self, seconds: float) -> None:
        """Add the time of a successful one."""
        self.seconds += seconds

    def to_dict(self) -> dict[str, int]:
        """Return the totals as `AsyncConnectionPool.get_stats()` names them, in its units."""
        return {
            "connections_num": self.attempts,
            "connections_ms": int(self.seconds * 1000),
            "connections_errors": self.failures,
        }
