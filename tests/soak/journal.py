"""What happened in a run, in order; what must not have happened; and the summary of it all."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass, field
from time import monotonic

logger = logging.getLogger("soak")

KEPT = 40  # violations of one kind that are told in full


@dataclass
class Journal:
    """The notes of one run."""

    began: float = field(default_factory=monotonic)
    violations: dict[str, list[str]] = field(default_factory=dict)
    faults: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)  # what operations ended in, by type
    counts: Counter[str] = field(default_factory=Counter)  # events and other things that happened
    waits: list[float] = field(default_factory=list)  # for traffic, after each episode
    slowest_flow: str = ""  # after what it took longest

    def note(self, text: str) -> None:
        """Write down what happens now."""
        logger.info("%8.2f  %s", monotonic() - self.began, text)

    def violated(self, rule: str, text: str) -> None:
        """Write down that something happened which must not."""
        self.violations.setdefault(rule, []).append(f"at {monotonic() - self.began:.2f} s: {text}")
        logger.error("%8.2f  VIOLATION of %r: %s", monotonic() - self.began, rule, text)

    def failed(self, error: BaseException) -> None:
        """Count what an operation ended in."""
        self.errors[type(error).__name__] += 1

    def flowed(self, seconds: float, what: str) -> None:
        """Write down how long it took until all writers wrote again after an episode."""
        if seconds >= max(self.waits, default=0.0):
            self.slowest_flow = what
        self.waits.append(seconds)

    def complaint(self) -> str:
        """Return all violations, for the message of the assertion."""
        lines = []
        for rule, texts in self.violations.items():
            lines.append(f"{rule}: {len(texts)}")
            lines += [f"  {text}" for text in texts[:KEPT]]
        return "\n".join(lines)


def table(title: str, values: dict[str, int] | Counter[str]) -> str:
    """Return figures in one line, the greatest first."""
    ordered = sorted(values.items(), key=lambda item: (-item[1], item[0]))
    return f"{title}: " + (", ".join(f"{name} {count}" for name, count in ordered) or "none")
