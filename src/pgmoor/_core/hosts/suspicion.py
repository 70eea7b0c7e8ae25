"""Doubts about the hosts: when one is probed for them, and when all are. Pure.

A doubt is whatever may be a sign of trouble: a caller's timeout, a broken connection, a failed
dial, a refused write. It has its host probed at once. When the answer proves it wrong, the next
doubt of the same kind waits a little, and each further one longer, up to `health_interval`.
A doubt that is not answered, or a missed probe, becomes a suspicion: all hosts are probed in a
burst until they have answered.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .probe_pace import BURST_LAST, longer_rest

if TYPE_CHECKING:
    from collections.abc import Callable

    from .host import HostState
    from .table import HostTable

BURST_MEMORY = 1.0  # seconds; a suspicion that begins sooner after the last one continues its burst
MEMORY = 4.0  # periods of `health_interval` without a doubt of a kind, until it is as good as new


@dataclass(slots=True)
class _Doubt:
    """The doubts of one kind about one host."""

    newest: float  # when one was last raised
    since: float | None = None  # when the first one was raised that no answer has proved wrong
    probed: float | None = None  # when a probe was asked for that is to answer it
    rest: float = 0.0  # seconds from one answer of the host to the next probe for such a doubt


class Suspicion:
    """The doubts about all hosts, and the suspicion of the host in use, if there is one."""

    def __init__(self, interval: float) -> None:
        self.since: float | None = None  # when the suspicion began; None without one
        self.burst_since: float = 0.0  # when the burst of probes began
        self._interval = interval  # `health_interval`, in seconds
        self._ended = float("-inf")
        self._doubts: dict[int, dict[str, _Doubt]] = {}  # by the hosts' indices, and by kind

    # -- doubts about one host -----------------------------------------------------------------

    def doubt(self, host: int, kind: str, now: float) -> bool:
        """Record a doubt; return whether none of its kind is waiting for an answer already."""
        kinds = self._doubts.setdefault(host, {})
        doubt = kinds.setdefault(kind, _Doubt(now))
        if now - doubt.newest > MEMORY * self._interval:
            doubt.rest = 0.0
        doubt.newest = now
        if doubt.since is not None:
            return False
        doubt.since = now
        return True

    def due(self, state: HostState) -> float | None:
        """Return when a host is to be probed for the doubts about it; None without any."""
        waiting = (
            max(doubt.since, state.asked_at + doubt.rest)
            for doubt in self._of(state.host.index)
            if doubt.since is not None and doubt.probed is None
        )
        return min(waiting, default=None)

    def probed(self, host: int, now: float) -> None:
        """Note that a probe was asked for that will answer all doubts about a host."""
        for doubt in self._of(host):
            if doubt.since is not None and doubt.probed is None:
                doubt.probed = now

    def settle(self, host: int, asked_at: float) -> None:
        """End the doubts from before *asked_at*: the host's answer has proved them wrong."""
        for doubt in self._of(host):
            if doubt.since is None or doubt.since > asked_at:
                continue
            doubt.rest = longer_rest(doubt.rest, self._interval)
            doubt.since = None if doubt.newest <= asked_at else doubt.newest
            doubt.probed = None

    def confirm(self, host: int) -> None:
        """Believe all doubts about a host at once again: it is in trouble indeed."""
        for doubt in self._of(host):
            doubt.rest = 0.0

    def unanswered(self, state: HostState) -> float | None:
        """Return when the doubts about a host become a suspicion; None if there are none."""
        patience = max(BURST_LAST, 2 * (state.latency or 0.0))
        probed = (doubt.probed for doubt in self._of(state.host.index))
        return min((at + patience for at in probed if at is not None), default=None)

    def first_sign(self, host: int) -> float | None:
        """Return when the first doubt about a host was raised that is not proved wrong."""
        signs = (doubt.since for doubt in self._of(host))
        return min((at for at in signs if at is not None), default=None)

    def forget(self, is_known: Callable[[int], bool]) -> None:
        """Forget the hosts that are not known any more."""
        self._doubts = {host: kinds for host, kinds in self._doubts.items() if is_known(host)}

    def _of(self, host: int) -> list[_Doubt]:
        return list(self._doubts.get(host, {}).values())

    # -- the suspicion of the host in use ------------------------------------------------------

    def begin(self, now: float) -> bool:
        """Begin a suspicion; return whether there was none."""
        if self.since is not None:
            return False
        self.since = now
        if now - self._ended > BURST_MEMORY:
            self.burst_since = now
        return True

    def clear(self) -> None:
        """Drop the suspicion and all doubts: another host is looked for or in use."""
        self.since = None
        self._doubts.clear()

    def resolve(
        self, table: HostTable, current: HostState, patience: float, now: float
    ) -> float | None:
        """End the suspicion if the evidence allows; return when to check again, if time decides.

        The host in use must have answered since it began. The others are waited for, for
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
