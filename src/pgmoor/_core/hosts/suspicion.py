"""Whether the host in use is suspected: from the first hint until the hosts have answered. Pure.

While it is, all hosts are probed in a burst.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .host import HostState
    from .table import HostTable

BURST_MEMORY = 1.0  # seconds; a suspicion that begins sooner after the last one continues its burst


class Suspicion:
    """The suspicion that something is wrong with the host in use, if there is one."""

    def __init__(self) -> None:
        self.since: float | None = None  # the newest hint; None without suspicion
        self.first_hint: float = 0.0
        self.burst_since: float = 0.0  # when the burst of probes began
        self._ended = float("-inf")

    def begin(self, now: float) -> bool:
        """Record a hint; return whether it is the first one."""
        first = self.since is None
        if first:
            self.first_hint = now
            if now - self._ended > BURST_MEMORY:
                self.burst_since = now
        self.since = now
        return first

    def clear(self) -> None:
        """Drop the suspicion: the host is left."""
        self.since = None

    def resolve(
        self, table: HostTable, current: HostState, patience: float, now: float
    ) -> float | None:
        """End the suspicion if the evidence allows; return when to check again, if time decides.

        The host in use must have answered since the newest hint. The others are waited for, for
        *patience* seconds at most.
        """
        if self.since is None or current.asked_at < self.since or current.misses:
            return None
        until = self.since + patience
        if now < until and any(state.asked_at < self.since for state in table):
            return until
        self.since = None
        self._ended = now
        return None
