"""The state of a running demo: `run` and `play` write it, `screen` and `plain` show it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pgmoor import Health, HostHealth

    from .ledger import Audit, Ledger
    from .results import SceneResult
    from .scenes import Scene
    from .story import Story


@dataclass(slots=True)
class Board:
    """Everything about the demo that can be shown."""

    story: Story
    ledger: Ledger
    scenes: Sequence[Scene]
    writers: int
    pg_version: int
    results: list[SceneResult] = field(default_factory=list)
    scene: int | None = None
    """The index of the scene that is playing."""
    strikes: list[tuple[float, str]] = field(default_factory=list)
    """When each fault began (`time.monotonic()`), and its title."""
    writing_since: float | None = None
    writing_until: float | None = None
    health: Health | None = None
    audit: Audit | None = None
    """The last one; the exit status depends on it."""
    duration: float | None = None
    """Seconds from the start to the end, once the demo is over."""

    @property
    def elapsed(self) -> float:
        """Seconds since the start, until the end."""
        return self.story.elapsed if self.duration is None else self.duration

    @property
    def good(self) -> bool:
        """Whether writing recovered from every fault, and no row was lost or written twice."""
        return (
            len(self.results) == len(self.scenes)
            and all(result.good for result in self.results)
            and self.audit is not None
            and self.audit.clean
        )

    @property
    def titles(self) -> list[str]:
        """The titles of the scenes."""
        return [scene.title for scene in self.scenes]

    def name_of(self, host: HostHealth) -> str:
        """Return the name of a host in the story."""
        return self.story.names.get(host.host, host.host)

    @property
    def verdict(self) -> str:
        """The result of the demo in a sentence."""
        if self.audit is None:
            return "The demo ended before the rows were counted."
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
            "faults": [result.to_dict() for result in self.results],
        }
