"""One login attempt at a time after a rejection, 5 s apart. Pure.

A server may lock an account after a few wrong passwords.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgmoor._core.hosts.failures import FailureKind

if TYPE_CHECKING:
    from pgmoor._core.hosts.failures import Failure

RETRY_INTERVAL = 5.0  # seconds between attempts that only time or a person can make succeed
REJECTIONS = frozenset({FailureKind.CREDENTIALS, FailureKind.CONFIGURATION, FailureKind.UNWILLING})
# No server has looked at our login: the one that rejected it is gone, or starts.
NOT_SEEN = frozenset({FailureKind.REFUSED, FailureKind.STARTING, FailureKind.NAME})


class LoginThrottle:
    """Allows one attempt at a host every 5 s once its server has rejected a login.

    The probe and all dials for the pool share it.
    """

    def __init__(self) -> None:
        self._rejection: Failure | None = None
        self._next = 0.0

    def admit(self, now: float) -> Failure | None:
        """Return None if an attempt may be made now, and count it; else the last rejection."""
        if self._rejection is None:
            return None
        if now < self._next:
            return self._rejection
        self._next = now + RETRY_INTERVAL
        return None

    def wait_time(self, now: float) -> float:
        """Return the seconds until the next attempt may be made."""
        return max(self._next - now, 0.0) if self._rejection is not None else 0.0

    def failed(self, failure: Failure, now: float) -> None:
        """Record a failed attempt."""
        if failure.kind in REJECTIONS:
            self._rejection = failure
            self._next = now + RETRY_INTERVAL
        elif failure.kind in NOT_SEEN:
            self._rejection = None

    def succeeded(self) -> bool:
        """Record a successful attempt; return whether attempts were throttled before."""
        was_throttled = self._rejection is not None
        self._rejection = None
        return was_throttled
