"""What was acknowledged, what was not, and what the servers hold in the end."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import Enum
from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

TABLE = "soak"
SCHEMA = f"create table {TABLE} (id text not null); create index on {TABLE} (id);"
INSERT = f"insert into {TABLE} (id) values (%s)"
SELECT = f"select id from {TABLE}"
EXISTS = f"select exists (select from {TABLE} where id = %s)"


class Fate(Enum):
    """What became of a row, as far as its writer was told."""

    DENIED = "denied"  # it ended before a commit was asked for: it must not be there
    UNKNOWN = "unknown"  # the commit was under way: either is right
    ACKNOWLEDGED = "acknowledged"


@dataclass
class Row:
    """One row that was to be written."""

    key: str
    fate: Fate = Fate.DENIED
    sent_at: float = field(default_factory=monotonic)
    told_at: float = 0.0
    port: int = 0

    def committing(self, port: int) -> None:
        """Note that the commit is asked for now, of the server behind a port."""
        self.fate = Fate.UNKNOWN
        self.port = port

    def describe(self, since: float) -> str:
        """Return what is known of it; times are told from *since*."""
        sent, told = self.sent_at - since, self.told_at - since
        return f"{self.key} {self.fate.value} (sent {sent:.3f}, told {told:.3f}, port {self.port})"


class Ledger:
    """All rows that were to be written."""

    def __init__(self) -> None:
        self.rows: dict[str, Row] = {}
        self.newest: dict[str, str] = {}  # the newest acknowledged row of each writer

    def begin(self, actor: str) -> Row:
        """Note that a row is about to be sent."""
        row = Row(f"{actor}:{len(self.rows)}")
        self.rows[row.key] = row
        return row

    def acknowledged(self, row: Row) -> None:
        """Note that the commit of a row was confirmed."""
        row.fate = Fate.ACKNOWLEDGED
        row.told_at = monotonic()
        self.newest[row.key.partition(":")[0]] = row.key

    def count(self) -> Mapping[Fate, int]:
        """Return how many rows met each fate."""
        return Counter(row.fate for row in self.rows.values())


@dataclass(frozen=True)
class Verdict:
    """What a comparison of the ledger with a server has shown."""

    lost: list[str]  # acknowledged, and not there
    twice: list[str]  # there more than once
    uninvited: list[str]  # there, though nobody asked for the commit, or nobody wrote it


def compare(rows: Mapping[str, Row], held: Iterable[str]) -> Verdict:
    """Compare what was told to the writers with what a server holds."""
    counts = Counter(held)
    return Verdict(
        lost=[
            row.key
            for row in rows.values()
            if row.fate is Fate.ACKNOWLEDGED and row.key not in counts
        ],
        twice=[key for key, times in counts.items() if times > 1],
        uninvited=[key for key in counts if key not in rows or rows[key].fate is Fate.DENIED],
    )


def strays(rows: Mapping[str, Row], held: Iterable[str], since: float) -> list[str]:
    """Return which of the rows that a stale server holds were sent after *since*."""
    return [key for key in set(held) if key in rows and rows[key].sent_at > since]
