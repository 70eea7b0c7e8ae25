"""The newest timelines of each cluster, and on which hosts they were seen. Pure.

A timeline, once seen, is not forgotten: an old primary that comes back would be taken for the only
one. It is abandoned when every host that was seen on it has since been set back.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from pgmoor.health import Role, Status

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from .host import HostState

MAX_CLUSTERS = 64  # whose newest timelines are remembered
MAX_TIMELINES = 8  # of a cluster, the newest
# Seconds. One address may lead to the servers of two timelines in turn; then the newer one is seen
# more often than this.
ABANDONED_AFTER = 10.0


@dataclass(slots=True)
class Sighting:
    """A timeline of a cluster, and when each host was last seen on it."""

    timeline: int
    seen: dict[int, float] = field(default_factory=dict)  # by the hosts' indices
    label: str = ""  # of the host that was seen last
    at: float = float("-inf")  # when that was

    def is_abandoned(self, states: Mapping[int, HostState]) -> bool:
        """Return whether each host that was on it is now a primary on an older one.

        Only a primary knows for sure: a standby's timeline lags.
        """
        for index, at in self.seen.items():
            state = states.get(index)
            if (
                state is None
                or state.status is not Status.UP
                or state.role is not Role.PRIMARY
                or state.timeline is None
                or state.timeline >= self.timeline
                or state.answered_at - at <= ABANDONED_AFTER
            ):
                return False
        return True

    def where(self, now: float, epoch: float) -> str:
        """Return on which host it was seen and when; *epoch* is the clock's value at *now*."""
        when = datetime.fromtimestamp(epoch - (now - self.at), UTC)
        return f"timeline {self.timeline} was seen on {self.label} at {when:%Y-%m-%d %H:%M:%S} UTC"


class Timelines:
    """The newest timelines seen of each cluster."""

    def __init__(self) -> None:
        self._seen: dict[int | None, dict[int, Sighting]] = {}  # by cluster and timeline

    def newest(self, system_id: int | None) -> int:
        """Return the newest timeline on which a server of this cluster was ever seen, or 0."""
        return max(self._seen.get(system_id, ()), default=0)

    def newer_than(self, state: HostState, states: Mapping[int, HostState]) -> Sighting | None:
        """Return the newest timeline that supersedes the one that a host is on, if there is one."""
        own, seen = state.timeline, self._seen.get(state.system_id, {})
        newer = sorted((each for each in seen if own is not None and each > own), reverse=True)
        found = (seen[each] for each in newer)
        return next((one for one in found if not one.is_abandoned(states)), None)

    def note(self, system_id: int | None, timeline: int, state: HostState, at: float) -> None:
        """Record that a host was seen on a timeline."""
        seen = self._seen.setdefault(system_id, {})
        one = seen.setdefault(timeline, Sighting(timeline))
        index = state.host.index
        one.seen[index] = max(at, one.seen.get(index, at))
        if at >= one.at:
            one.label, one.at = state.host.label, at
        if len(seen) > MAX_TIMELINES:
            del seen[min(seen)]

    def limit(self, known: Collection[int | None]) -> None:
        """Forget the oldest cluster that is not *known*: a hostile server may claim any number."""
        if len(self._seen) <= MAX_CLUSTERS:
            return
        for system_id in self._seen:
            if system_id not in known:
                del self._seen[system_id]
                return

    def forget(self, states: Collection[HostState]) -> None:
        """Forget all but what the hosts that answer say now."""
        self._seen.clear()
        for state in states:
            if state.status is Status.UP and state.timeline is not None:
                self.note(state.system_id, state.timeline, state, state.answered_at)
