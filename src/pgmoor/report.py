"""Says what happened: one log line and one event for each transition."""

from __future__ import annotations

import logging
from time import monotonic
from typing import TYPE_CHECKING

from . import events as ev
from .errors import describe
from .hosts import Host, HostState, HostTable, Role, Status
from .sqlstate import Failure, FailureKind

if TYPE_CHECKING:
    from collections.abc import Callable

    from .events import Event

logger = logging.getLogger("pgmoor.hosts")

REPORT_AGAIN = 60.0  # seconds before the same failure of a host's dials is reported again
SEEN_BY_PROBES = frozenset(
    {
        FailureKind.REFUSED,
        FailureKind.RESET,
        FailureKind.TIMEOUT,
        FailureKind.STARTING,
        FailureKind.NAME,
        FailureKind.ROLE,
    }
)


class Reporter:
    """Turns transitions into log lines and events."""

    def __init__(self, emit: Callable[[Event], None]) -> None:
        self._emit = emit
        self._dials: dict[tuple[int, FailureKind], float] = {}
        self._split: set[int] = set()
        self._foreign: set[int] = set()

    # -- one host ------------------------------------------------------------------------------

    def observed(self, table: HostTable, before: HostState, after: HostState) -> None:
        """Say how one host changed."""
        if after.status is not before.status:
            if after.status is Status.UP:
                self._up(before, after)
            else:
                self._down(after)
        elif after.status is Status.UP and nature(before) != nature(after):
            logger.warning("%s was %s and is %s", after.host, nature(before), nature(after))
            self._emit(
                ev.RoleChanged(host=after.host.label, before=nature(before), after=nature(after))
            )
        if after.pooled and not before.pooled:
            logger.info("a pooler answers for %s; statements are not prepared there", after.host)
        self.watch_foreign(table)
        self._watch_split(table, after)

    def _up(self, before: HostState, after: HostState) -> None:
        down_for = None if before.down_since is None else monotonic() - before.down_since
        if down_for is None:
            logger.info("%s is up: %s", after.host, nature(after))
        else:
            logger.info("%s is up again after %.2f s: %s", after.host, down_for, nature(after))
        self._emit(ev.HostUp(host=after.host.label, role=nature(after), down_for=down_for))

    def _down(self, state: HostState) -> None:
        reason = state.failure.text if state.failure else "no answer"
        logger.warning("%s is %s: %s", state.host, state.status.value, reason)
        self._emit(ev.HostDown(host=state.host.label, status=state.status.value, reason=reason))

    def watch_foreign(self, table: HostTable) -> None:
        """Report each host that belongs to another cluster than the one in use, once."""
        for state in table:
            index = state.host.index
            if not table.is_foreign(state):
                self._foreign.discard(index)
            elif index not in self._foreign:
                self._foreign.add(index)
                logger.error(
                    "%s belongs to another database cluster; remove it from the list", state.host
                )
                self._emit(ev.ForeignHost(host=state.host.label))

    def _watch_split(self, table: HostTable, state: HostState) -> None:
        """Report a claim to be primary on a timeline that was left, once, when it is made.

        A dead primary's last claim is not one: the host itself has to answer so, and to accept
        writes.
        """
        if state.status is not Status.UP:
            return
        index = state.host.index
        rival = any(
            table.are_rivals(state, other) and other.status is Status.UP and other.writable
            for other in table
            if other.host.index == table.last
        )
        if state.writable is False or not (table.is_stale(state) or rival):
            self._split.discard(index)
            return
        if index in self._split:
            return
        self._split.add(index)
        newest = table.newest_timeline(state.system_id)
        logger.error(
            "split brain: %s claims to be primary on timeline %s, but %s; it is not used",
            state.host,
            state.timeline,
            "so does the host in use" if rival else f"{newest} is newer",
        )
        self._emit(
            ev.SplitBrain(
                host=state.host.label, timeline=state.timeline or 0, newest_timeline=newest
            )
        )

    def dial_failed(self, host: Host, failure: Failure) -> None:
        """Say that the pool could not add a connection; the same once a minute at most.

        What the host's own probe is about to find out is left to that.
        """
        if failure.kind in SEEN_BY_PROBES:
            return
        now = monotonic()
        key = (host.index, failure.kind)
        if now - self._dials.get(key, float("-inf")) > REPORT_AGAIN:
            self._dials[key] = now
            logger.warning("can't add a connection to %s: %s", host, failure)
            self._emit(ev.DialFailed(host=host.label, kind=failure.kind.value, reason=failure.text))

    # -- the choice of a host ------------------------------------------------------------------

    def connected(self, host: Host, seconds: float) -> None:
        """Say that the first host was chosen."""
        logger.info("connected to %s after %.2f s", host, seconds)
        self._emit(ev.Connected(host=host.label, seconds=seconds))

    def leaving(self, host: Host, reason: str) -> None:
        """Say that a host is left; what comes of it is the event."""
        logger.warning("leaving %s: %s", host, reason)

    def failover(self, before: Host, after: Host, reason: str, seconds: float) -> None:
        """Say that everyone was moved to another host."""
        logger.warning("failed over from %s to %s in %.3f s: %s", before, after, seconds, reason)
        self._emit(
            ev.Failover(before=before.label, after=after.label, reason=reason, seconds=seconds)
        )

    def failback(self, before: Host, after: Host) -> None:
        """Say that everyone is moved back to a preferred host."""
        logger.info("going back from %s to the preferred %s", before, after)
        self._emit(ev.Failback(before=before.label, after=after.label))

    def outage_started(self, table: HostTable) -> None:
        """Say that no host qualifies."""
        reason = "; ".join(describe(state) for state in table)
        logger.warning("no host qualifies: %s", reason)
        self._emit(ev.OutageStarted(reason=reason))

    def outage_ended(self, host: Host, seconds: float) -> None:
        """Say that a host qualifies again."""
        logger.info("%s qualifies after %.2f s without a host", host, seconds)
        self._emit(ev.OutageEnded(host=host.label, seconds=seconds))

    def stalled(self, host: Host, limit: float) -> None:
        """Say that the only host does not answer."""
        logger.warning(
            "%s does not answer; no other host qualifies, so it is given %g s", host, limit
        )
        self._emit(ev.Stalled(host=host.label))

    def stall_ended(self, host: Host, seconds: float) -> None:
        """Say that it answers again."""
        logger.info("%s answers again after %.2f s", host, seconds)
        self._emit(ev.StallEnded(host=host.label, seconds=seconds))

    def reconnect_failed(self, seconds: float) -> None:
        """Say that the search takes long."""
        logger.error("no host has qualified for %.1f s; still searching", seconds)
        self._emit(ev.ReconnectFailed(seconds=seconds))

    def gave_up(self, tries: int, seconds: float) -> None:
        """Say that the search has ended without a host."""
        logger.error("gave up after %d tries in %.1f s; reconnect() starts anew", tries, seconds)
        self._emit(ev.GaveUp(tries=tries, seconds=seconds))


def nature(state: HostState) -> str:
    """Return what a host is, in a word or two."""
    if state.role is Role.PRIMARY and state.writable is False:
        return "read-only primary"
    if state.role is Role.UNKNOWN and state.writable is not None:
        return "writable" if state.writable else "read-only"
    return state.role.value
