"""How often a host is probed: slowly while all is well, in a burst while in doubt. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from pgmoor.health import Status

from .failures import FailureKind

if TYPE_CHECKING:
    from .host import HostState


class Situation(NamedTuple):
    """What the manager is doing, as far as the pace of probing depends on it."""

    searching: bool = False  # no host is in use
    unsure_since: float | None = None  # when the suspicion or the search began
    given_up: bool = False


BURST_FIRST = 0.01
BURST_LAST = 0.1
REST_FIRST = 0.02  # seconds; the first rest after a doubt that was proved wrong
REST_GROWTH = 5.0
NO_ROOM = frozenset({FailureKind.SATURATED, FailureKind.RESOURCES})
NO_ROOM_INTERVAL = 0.5  # seconds; be gentle with a server that has no free slot or memory
REJECTED_INTERVAL = 5.0


def pace(state: HostState, situation: Situation, interval: float, now: float) -> float | None:
    """Return the seconds until a host's next probe; None if it waits until somebody asks for one.

    While something is in doubt, probes come in a burst that begins 10 ms apart and slows to 100 ms
    within 2 s. In an outage, hosts that are down are left to the reconnect task and its backoff.
    Those that answer are probed in the burst: one may be promoted at any moment.
    """
    if situation.given_up:
        return None
    if state.status is Status.REJECTED:
        return max(interval, REJECTED_INTERVAL)
    if state.failure is not None and state.failure.kind in NO_ROOM:
        return max(interval, NO_ROOM_INTERVAL)
    if situation.searching and state.status in (Status.DOWN, Status.SILENT):
        return None
    if situation.unsure_since is not None:
        unsure_for = now - situation.unsure_since
        return min(max(unsure_for / 20, BURST_FIRST), BURST_LAST, interval)
    return interval


def longer_rest(rest: float, interval: float) -> float:
    """Return the rest that follows *rest* once another doubt was proved wrong, in seconds.

    It reaches *interval* after a few; the regular probes answer the doubts then, at no cost.
    """
    return min(max(rest * REST_GROWTH, REST_FIRST), interval)
