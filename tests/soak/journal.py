"""What happened in a run, in order, with all violations and figures for a summary."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass, field
from time import monotonic

logger = logging.getLogger("soak")

SHOWN = 40  # violations of one kind that are shown in full


@dataclass
class Journal:
    """The notes of one run."""

    began: float = field(default_factory=monotonic)
    violations: dict[str, list[str]] = field(default_factory=dict)
    faults: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)  # of operations, by type
    counts: Counter[str] = field(default_factory=Counter)  # of events and the like
    waits: list[float] = field(default_factory=list)  # until traffic flowed, after each episode
    slowest_flow: str = ""  # the episode after which it took longest

    def note(self, text: str) -> None:
        """Record what happens now."""
        logger.info("%8.2f  %s", monotonic() - self.began, text)

    def violated(self, rule: str, text: str) -> None:
        """Record that a rule was broken."""
        self.violations.setdefault(rule, []).append(f"at {monotonic() - self.began:.2f} s: {text}")
        logger.error("%8.2f  VIOLATION of %r: %s", monotonic() - self.began, rule, text)

    def failed(self, error: BaseException) -> None:
        """Count an operation that failed."""
        self.errors[type(error).__name__] += 1

    def flowed(self, seconds: float, what: str) -> None:
        """Record how long it took until all writers wrote again after an episode."""
        if seconds >= max(self.waits, default=0.0):
            self.slowest_flow = what
        self.waits.append(seconds)

    def complaint(self) -> str:
        """Return all violations, for the message of the assertion."""
        lines = []
        for rule, texts in self.violations.items():
            lines.append(f"{rule}: {len(texts)}")
            lines += [f"  {text}" for text in texts[:SHOWN]]
        return "\n".join(lines)


def table(title: str, values: dict[str, int] | Counter[str]) -> str:
    """Return figures in one line, the largest first."""
    ordered = sorted(values.items(), key=lambda item: (-item[1], item[0]))
    return f"{title}: " + (", ".join(f"{name} {count}" for name, count in ordered) or "none")
