"""Knows every operation of the demo's writers, and whether the database agrees with them.

Independent of pgmoor: it keeps what was acknowledged and reads it back over a plain connection.
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

# No unique constraint on id: a row that is written twice shall show.
CREATE = (
    "CREATE TABLE pgmoor_demo (id bigint NOT NULL, writer int NOT NULL, sequence int NOT NULL);"
    "CREATE INDEX ON pgmoor_demo (id)"
)
COUNT = "SELECT id, count(*) FROM pgmoor_demo GROUP BY id"


@dataclass(frozen=True, slots=True)
class FailedOperation:
    """An operation that raised, and when it did."""

    at: float
    writer: int
    error: str


@dataclass(frozen=True, slots=True)
class Audit:
    """What a plain connection found in the table."""

    rows: int
    lost: frozenset[int]
    """Acknowledged, and not there."""
    twice: frozenset[int]
    """There more than once."""

    @property
    def clean(self) -> bool:
        """Whether the table and the ledger agree."""
        return not self.lost and not self.twice


class Ledger:
    """What the writers were told, by the clock of this process (`time.monotonic()`)."""

    def __init__(self, writers: int) -> None:
        self.acknowledged: set[int] = set()
        self.failures: list[FailedOperation] = []
        # For each writer, when its operations began and when they were acknowledged; both rise.
        self._begun: list[list[float]] = [[] for _ in range(writers)]
        self._ended: list[list[float]] = [[] for _ in range(writers)]
        self._commits: list[float] = []

    def acknowledge(self, row: int, writer: int, begun: float) -> None:
        """Note that a row is known to be committed, by an operation that began at *begun*."""
        now = monotonic()
        self.acknowledged.add(row)
        self._begun[writer].append(begun)
        self._ended[writer].append(now)
        self._commits.append(now)

    def fail(self, writer: int, error: BaseException) -> None:
        """Note that an operation raised."""
        self.failures.append(FailedOperation(monotonic(), writer, type(error).__name__))

    def failed_since(self, instant: float) -> list[FailedOperation]:
        """Return the operations that raised at *instant* or later."""
        return [failure for failure in self.failures if failure.at >= instant]

    def flowed_at(self, since: float) -> float | None:
        """Return when the last of the writers had committed an operation begun after *since*.

        None while one of them has not.
        """
        ends = []
        for begun, ended in zip(self._begun, self._ended, strict=True):
            place = bisect_left(begun, since)
            if place == len(begun):
                return None
            ends.append(ended[place])
        return max(ends, default=None)

    def recovered_at(self, since: float) -> float | None:
        """Return when all flowed again after a fault at *since*, and no error followed."""
        failures = self.failed_since(since)
        return self.flowed_at(max(since, failures[-1].at) if failures else since)

    def rate(self) -> float:
        """Return the commits a second, over the last second."""
        (rate,) = self.rates(monotonic() - 1, 1, 1)
        return rate

    def rates(self, start: float, step: float, count: int) -> list[float]:
        """Return the commits a second in each of *count* steps of *step* seconds from *start*."""
        places = [bisect_left(self._commits, start + step * n) for n in range(count + 1)]
        return [(after - before) / step for before, after in pairwise(places)]


def audit(conninfo: str, acknowledged: AbstractSet[int]) -> Audit:
    """Compare the table with what was acknowledged. Blocks; uses a connection of its own."""
    with psycopg.connect(conninfo, connect_timeout=5) as conn:
        counts: dict[int, int] = dict(conn.execute(COUNT).fetchall())
    return Audit(
        rows=sum(counts.values()),
        lost=frozenset(acknowledged - counts.keys()),
        twice=frozenset(row for row, count in counts.items() if count > 1),
    )
