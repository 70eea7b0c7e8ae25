"""Everything of a running demo that can be shown, in one place; it does nothing by itself.

`screen` and `plain` read it, `demo` writes it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pgmoor import Health, HostHealth

    from .ledger import Audit, Ledger
    from .scenes import Scene, SceneResult
    from .story import Story


@dataclass(slots=True)
class Board:
    """The state of the demo."""

    story: Story
    ledger: Ledger
    scenes: Sequence[Scene]
    writers: int
    pg_version: int
    outcomes: list[SceneResult] = field(default_factory=list)
    scene: int | None = None
    """The number of the scene that is played."""
    strikes: list[tuple[float, str]] = field(default_factory=list)
    """When each fault began, by `time.monotonic()`, and its title."""
    writing_since: float | None = None
    writing_until: float | None = None
    health: Health | None = None
    audit: Audit | None = None
    """The last one, by which the exit status is decided."""
    duration: float | None = None
    """Seconds the whole took, once it is over."""

    @property
    def elapsed(self) -> float:
        """Seconds since the start, or to the end."""
        return self.story.elapsed if self.duration is None else self.duration

    @property
    def good(self) -> bool:
        """Whether every fault was survived, and nothing acknowledged was lost or doubled."""
        return (
            len(self.outcomes) == len(self.scenes)
            and all(outcome.good for outcome in self.outcomes)
            and self.audit is not None
            and self.audit.clean
        )

    def name_of(self, host: HostHealth) -> str:
        """Return what a host is called in the story."""
        return self.story.names.get(host.host, host.host)

    @property
    def verdict(self) -> str:
        """What came of it, in a sentence."""
        if self.audit is None:
            return "The demo did not come to its end."
        return (
            f"{len(self.ledger.acknowledged):,} rows acknowledged, {len(self.audit.lost)} lost,"
            f" {len(self.audit.twice)} written twice;"
            f" {len(self.ledger.failures)} operations failed."
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the results as plain values."""
        audit = self.audit
        return {
            "postgresql": self.pg_version,
            "writers": self.writers,
            "duration": None if self.duration is None else round(self.duration, 3),
            "good": self.good,
            "acknowledged": len(self.ledger.acknowledged),
            "failed": len(self.ledger.failures),
            "lost": None if audit is None else len(audit.lost),
            "twice": None if audit is None else len(audit.twice),
            "faults": [outcome.to_dict() for outcome in self.outcomes],
        }
