"""Whether something is in doubt: from the first hint until the hosts have answered for themselves.

Pure: it takes the clock's value. While there is doubt all hosts are probed in a burst.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .hosts import HostState, HostTable

BURST_MEMORY = 1.0  # seconds after a doubt ended within which a new one continues its burst


class Doubt:
    """The doubt about the host in use, if any."""

    def __init__(self) -> None:
        self.since: float | None = None  # when the newest hint came; None without doubt
        self.arose = 0.0  # when its first hint came
        self.began = 0.0  # when the burst of probes began
        self._ended = float("-inf")

    def arise(self, now: float) -> bool:
        """Take a hint; return whether it is the first one."""
        first = self.since is None
        if first:
            self.arose = now
            if now - self._ended > BURST_MEMORY:
                self.began = now
        self.since = now
        return first

    def drop(self) -> None:
        """Forget the doubt: it has become certainty, and the host is left."""
        self.since = None

    def settle(
        self, table: HostTable, current: HostState, patience: float, now: float
    ) -> float | None:
        """End the doubt if the evidence allows; return when to look again, if time alone decides.

        The host in use has to have answered since the newest hint; the others, too, but for those
        only *patience* seconds are spent.
        """
        if self.since is None or current.asked_at < self.since or current.misses:
            return None
        until = self.since + patience
        if now < until and any(state.asked_at < self.since for state in table):
            return until
        self.since = None
        self._ended = now
        return None
