"""What may happen to callers only while a fault stands, or while sessions begun in it live."""

from __future__ import annotations

from dataclasses import dataclass, field
from time import monotonic

NEVER = float("inf")


@dataclass
class Period:
    """A time in which some errors are allowed."""

    errors: tuple[type[BaseException], ...]
    unconfirmed: bool  # commits may be acknowledged that no standby has confirmed
    since: float = field(default_factory=monotonic)
    until: float = NEVER


class Tolerance:
    """All such periods of a run."""

    def __init__(self) -> None:
        self._periods: list[Period] = []

    def begin(self, *errors: type[BaseException], unconfirmed: bool = False) -> None:
        """Allow errors from now on."""
        self._periods.append(Period(errors, unconfirmed))

    def end(self) -> None:
        """Allow none to what begins after this."""
        for period in self._periods:
            period.until = min(period.until, monotonic())

    def covers(self, error: BaseException, since: float) -> bool:
        """Return whether what began at an instant may meet this error."""
        return any(
            isinstance(error, period.errors) and since <= period.until for period in self._periods
        )

    def doubts(self, since: float) -> bool:
        """Return whether a commit may be lost that began at *since* and has just been confirmed."""
        return any(period.unconfirmed and since <= period.until for period in self._periods)
