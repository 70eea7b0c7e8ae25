"""Who keeps being turned away does not knock for ever: one attempt at a time, slowly.

Pure: it takes the clock's value.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .sqlstate import FailureKind

if TYPE_CHECKING:
    from .sqlstate import Failure

SLOW_DELAY = 5.0  # seconds between attempts that only time or a person can make succeed
NEEDS_A_PERSON = frozenset({FailureKind.CREDENTIALS, FailureKind.CONFIGURATION})
# No server has looked at what we are: who rejected us is gone, or about to begin anew.
NOBODY_ASKED = frozenset({FailureKind.REFUSED, FailureKind.STARTING, FailureKind.NAME})


class Gate:
    """Lets one attempt at a host through each 5 s once it has turned us away for good reason.

    A server may lock an account after some wrong passwords, so the attempts of the probe and of all
    dials for the pool count as one.
    """

    def __init__(self) -> None:
        self._failure: Failure | None = None
        self._next = 0.0

    def admit(self, now: float) -> Failure | None:
        """Return None and count an attempt, or the failure that keeps the gate shut."""
        if self._failure is None:
            return None
        if now < self._next:
            return self._failure
        self._next = now + SLOW_DELAY
        return None

    def shut_for(self, now: float) -> float:
        """Return the seconds until the next attempt may be made."""
        return max(self._next - now, 0.0) if self._failure is not None else 0.0

    def failed(self, failure: Failure, now: float) -> None:
        """Take in a failed attempt."""
        if failure.kind in NEEDS_A_PERSON:
            self._failure = failure
            self._next = now + SLOW_DELAY
        elif failure.kind in NOBODY_ASKED:
            self._failure = None

    def passed(self) -> bool:
        """Take in an attempt that succeeded: anybody may come. Return whether that is news."""
        was_shut = self._failure is not None
        self._failure = None
        return was_shut
