"""Records every operation of the demo's writers, and compares it with the database.

Independent of pgmoor: the audit reads the rows over a plain connection.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from itertools import pairwise
from time import monotonic
from typing import TYPE_CHECKING

import psycopg

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

TABLE = "pgmoor_demo"


@dataclass(frozen=True, slots=True)
class FailedOperation:
    """When an operation raised, and the class of the exception."""

    at: float
    writer: int
    error: str


@dataclass(frozen=True, slots=True)
class Audit:
    """The result of comparing the table with the ledger."""

    rows: int
    lost: frozenset[int]
    """Rows acknowledged, but not in the table."""
    twice: frozenset[int]
    """Rows in the table more than once."""

    @property
    def clean(self) -> bool:
        """Whether the table and the ledger agree."""
        return not self.lost and not self.twice


class Ledger:
    """What the writers' operations returned or raised; times are `time.monotonic()`."""

    def __init__(self, writers: int, table: str = TABLE) -> None:
        self.table = table
        self.acknowledged: set[int] = set()
        self.failures: list[FailedOperation] = []
        # For each writer, when its operations began and when they were acknowledged; both ascend.
        self._begun: list[list[float]] = [[] for _ in range(writers)]
        self._ended: list[list[float]] = [[] for _ in range(writers)]
        self._commits: list[float] = []

    def acknowledge(self, row: int, writer: int, begun: float) -> None:
        """Record that a row is committed, by an operation that began at *begun*."""
        now = monotonic()
        self.acknowledged.add(row)
        self._begun[writer].append(begun)
        self._ended[writer].append(now)
        self._commits.append(now)

    def fail(self, writer: int, error: BaseException) -> None:
        """Record that an operation raised."""
        self.failures.append(FailedOperation(monotonic(), writer, type(error).__name__))

    def failed_since(self, instant: float) -> list[FailedOperation]:
        """Return the operations that raised at *instant* or later."""
        return [failure for failure in self.failures if failure.at >= instant]

    def _all_committed_at(self, since: float) -> float | None:
        """Return when every writer had committed an operation that began after *since*.

        None if one of them has not yet.
        """
        ends = []
        for begun, ended in zip(self._begun, self._ended, strict=True):
            place = bisect_left(begun, since)
            if place == len(begun):
                return None
            ends.append(ended[place])
        return max(ends, default=None)

    def recovered_at(self, since: float) -> float | None:
        """Return when every writer had committed after *since* and after the last error.

        None if one of them has not yet.
        """
        failures = self.failed_since(since)
        return self._all_committed_at(max(since, failures[-1].at) if failures else since)

    def rate(self) -> float:
        """Return the number of commits in the last second."""
        (rate,) = self.rates(monotonic() - 1, 1, 1)
        return rate

    def rates(self, start: float, step: float, count: int) -> list[float]:
        """Return the commits per second in each of *count* steps of *step* seconds from *start*."""
        places = [bisect_left(self._commits, start + step * n) for n in range(count + 1)]
        return [(after - before) / step for before, after in pairwise(places)]


def create_sql(table: str = TABLE) -> str:
    """Return the SQL that makes a table for rows.

    No unique constraint on id, so that the audit can find rows written twice.
    """
    columns = "id bigint NOT NULL, writer int NOT NULL, sequence int NOT NULL"
    return f"CREATE TABLE {table} ({columns}); CREATE INDEX ON {table} (id)"


def audit(conninfo: str, acknowledged: AbstractSet[int], table: str = TABLE) -> Audit:
    """Compare the table with the acknowledged rows. Blocks; opens a connection of its own."""
    query = f"SELECT id, count(*) FROM {table} GROUP BY id"  # noqa: S608  one of our two names
    with psycopg.connect(conninfo, connect_timeout=5) as conn:
        counts: dict[int, int] = dict(conn.execute(query.encode()).fetchall())
    return Audit(
        rows=sum(counts.values()),
        lost=frozenset(acknowledged - counts.keys()),
        twice=frozenset(row for row, count in counts.items() if count > 1),
    )
