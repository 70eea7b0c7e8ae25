"""A lane of the demo: one library, its writers' ledger, and what they saw of each fault."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .ledger import Audit

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from .ledger import Ledger
    from .results import SceneResult

PGMOOR = "pgmoor"
NO_ROWS = Audit(rows=0, lost=frozenset(), twice=frozenset())


@dataclass(slots=True)
class Lane:
    """One library under the faults. *patience*: seconds that it has to recover from each."""

    name: str
    ledger: Ledger
    patience: float
    restart: Callable[[], Awaitable[None]] | None = None
    """Opens the library again, if the next fault would not find it working."""
    results: list[SceneResult] = field(default_factory=list)
    audit: Audit | None = None
    """The last one."""

    @property
    def verdict(self) -> str:
        """What became of its rows, in a sentence."""
        if self.audit is None:
            return "The demo ended before the rows were counted."
        return (
            f"{len(self.ledger.acknowledged):,} rows acknowledged, {len(self.audit.lost)} lost,"
            f" {len(self.audit.twice)} written twice;"
            f" {len(self.ledger.failures):,} operations failed."
        )

    def is_good(self, scenes: int) -> bool:
        """Whether it recovered from every fault, and no row was lost or written twice."""
        return (
            len(self.results) == scenes
            and all(result.good for result in self.results)
            and self.audit is not None
            and self.audit.clean
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the results as plain values."""
        audit = self.audit
        return {
            "acknowledged": len(self.ledger.acknowledged),
            "failed": len(self.ledger.failures),
            "lost": None if audit is None else len(audit.lost),
            "twice": None if audit is None else len(audit.twice),
            "faults": [result.to_dict() for result in self.results],
        }
