"""The state of a running demo: `run` and `play` write it, `screen`, `plain` and `movie` show it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pgmoor import Health, HostHealth
    from pgmoor._cli.story import Story

    from .lane import Lane
    from .scenes import Scene


@dataclass(slots=True)
class Board:
    """Everything about the demo that can be shown."""

    story: Story
    lane: Lane
    """pgmoor's."""
    scenes: Sequence[Scene]
    writers: int
    pg_version: int
    beside: Lane | None = None
    """The other library's, if there is one."""
    scene: int | None = None
    """The index of the scene that is playing."""
    strikes: list[tuple[float, str]] = field(default_factory=list)
    """When each fault began (`time.monotonic()`), and its title."""
    writing_since: float | None = None
    writing_until: float | None = None
    health: Health | None = None
    seen: list[tuple[float, dict[str, str]]] = field(default_factory=list)
    """Since when the hosts, by name, had a role or a status; each time that one changed."""
    duration: float | None = None
    """Seconds from the start to the end, once the demo is over."""

    @property
    def lanes(self) -> list[Lane]:
        """The lane of pgmoor, and the other library's if there is one."""
        return [self.lane] if self.beside is None else [self.lane, self.beside]

    @property
    def elapsed(self) -> float:
        """Seconds since the start, until the end."""
        return self.story.elapsed if self.duration is None else self.duration

    @property
    def good(self) -> bool:
        """Whether pgmoor recovered from every fault, and lost and doubled no row."""
        return self.lane.is_good(len(self.scenes))

    @property
    def titles(self) -> list[str]:
        """The titles of the scenes."""
        return [scene.title for scene in self.scenes]

    def see(self, health: Health, now: float) -> None:
        """Take over the newest report on the hosts; *now* is `time.monotonic()`."""
        self.health = health
        hosts = {
            self.name_of(host): host.role_label if host.status == "up" else host.status
            for host in health.hosts
        }
        if not self.seen or self.seen[-1][1] != hosts:
            self.seen.append((now, hosts))

    def name_of(self, host: HostHealth) -> str:
        """Return the name of a host in the story."""
        return self.story.names.get(host.host, host.host)

    @property
    def verdicts(self) -> list[str]:
        """The result of the demo, in a sentence for each lane."""
        if self.beside is None:
            return [self.lane.verdict]
        return [f"{lane.name}: {lane.verdict}" for lane in self.lanes]

    def to_dict(self) -> dict[str, Any]:
        """Return the results as plain values."""
        return {
            "postgresql": self.pg_version,
            "writers": self.writers,
            "duration": None if self.duration is None else round(self.duration, 3),
            "good": self.good,
            **self.lane.to_dict(),
            "beside": self.beside and {"library": self.beside.name, **self.beside.to_dict()},
        }
