"""Totals of checkouts, and the names that psycopg_pool gives them."""

from __future__ import annotations


class Counters:
    """Totals since the start or the last `pop_stats()`; names as in psycopg_pool."""

    def __init__(self) -> None:
        self.requests_num = 0
        self.requests_queued = 0
        self.requests_errors = 0
        self.requests_wait = 0.0  # seconds
        self.usage = 0.0  # seconds
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
