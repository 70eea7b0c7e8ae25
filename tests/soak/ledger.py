"""Which rows were acknowledged, and which ones the servers hold in the end."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import Enum
from time import monotonic
from typing import TYPE_CHECKING

from soak.tolerance import Tolerance

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

TABLE = "soak"
SCHEMA = f"create table {TABLE} (id text not null); create index on {TABLE} (id);"
INSERT = f"insert into {TABLE} (id) values (%s)"
SELECT = f"select id from {TABLE}"
EXISTS = f"select exists (select from {TABLE} where id = %s)"


class Fate(Enum):
    """What became of a row, as far as its writer knows."""

    DENIED = "denied"  # it failed before COMMIT was sent: it must not be there
    UNKNOWN = "unknown"  # COMMIT was under way: it may be there or not
    ACKNOWLEDGED = "acknowledged"


@dataclass
class Row:
    """One row that a writer tried to write."""

    key: str
    fate: Fate = Fate.DENIED
    sent_at: float = field(default_factory=monotonic)
    acknowledged_at: float = 0.0
    port: int = 0

    def committing(self, port: int) -> None:
        """Record that COMMIT is sent now, to the server behind a port."""
        self.fate = Fate.UNKNOWN
        self.port = port

    def describe(self, since: float) -> str:
        """Return what is known of it; times count from *since*."""
        sent, done = self.sent_at - since, self.acknowledged_at - since
        times = f"sent {sent:.3f}, acknowledged {done:.3f}"
        return f"{self.key} {self.fate.value} ({times}, port {self.port})"


class Ledger:
    """All rows that writers tried to write."""

    def __init__(self, tolerance: Tolerance | None = None) -> None:
        self._tolerance = tolerance or Tolerance()
        self.rows: dict[str, Row] = {}
        self.newest: dict[str, str] = {}  # the newest acknowledged row of each writer

    def begin(self, actor: str) -> Row:
        """Record that a row is about to be sent."""
        row = Row(f"{actor}:{len(self.rows)}")
        self.rows[row.key] = row
        return row

    def acknowledged(self, row: Row) -> None:
        """Record that the commit of a row was confirmed, unless that means nothing."""
        if self._tolerance.doubts(row.sent_at):
            return
        row.fate = Fate.ACKNOWLEDGED
        row.acknowledged_at = monotonic()
        self.newest[row.key.partition(":")[0]] = row.key

    def count(self) -> Mapping[Fate, int]:
        """Return how many rows there are of each fate."""
        return Counter(row.fate for row in self.rows.values())


@dataclass(frozen=True)
class Verdict:
    """How the ledger and a server differ."""

    lost: list[str]  # acknowledged, and not there
    twice: list[str]  # there more than once
    uncommitted: list[str]  # there, although COMMIT was never sent or nobody wrote it


def compare(rows: Mapping[str, Row], held: Iterable[str]) -> Verdict:
    """Compare what the writers know with what a server holds."""
    counts = Counter(held)
    return Verdict(
        lost=[
            row.key
            for row in rows.values()
            if row.fate is Fate.ACKNOWLEDGED and row.key not in counts
        ],
        twice=[key for key, times in counts.items() if times > 1],
        uncommitted=[key for key in counts if key not in rows or rows[key].fate is Fate.DENIED],
    )


def strays(rows: Mapping[str, Row], held: Iterable[str], since: float) -> list[str]:
    """Return which of the rows that a stale server holds were sent after *since*."""
    return [key for key in set(held) if key in rows and rows[key].sent_at > since]
