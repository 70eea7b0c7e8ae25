"""Says what happened: one log line and one event for each transition."""

from __future__ import annotations

import logging
from time import monotonic
from typing import TYPE_CHECKING

from . import events as ev
from .errors import describe
from .heard import steady_since
from .hosts import Host, HostState, HostTable, Role, Status
from .logs import fields, fields_of
from .sqlstate import Failure, FailureKind

if TYPE_CHECKING:
    from collections.abc import Callable

    from .events import Event
    from .hosts import Revision

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

    def __init__(self, manager: str, emit: Callable[[Event], None]) -> None:
        self._manager = manager
        self._emit = emit
        self._dials: dict[tuple[int, FailureKind], float] = {}
        self._unexplained: dict[int, float] = {}  # when a host's dials began to fail, by index
        self._split: set[int] = set()
        self._foreign: set[int] = set()
        self._list_unknown_at = float("-inf")

    # -- one host ------------------------------------------------------------------------------

    def observed(self, table: HostTable, before: HostState, after: HostState) -> None:
        """Say how one host changed."""
        if after.status is not Status.UP:
            self._unexplained.pop(after.host.index, None)
        if after.status is not before.status:
            if after.status is Status.UP:
                self._up(before, after)
            else:
                self._down(after)
        elif after.status is Status.UP and nature(before) != nature(after):
            self._role_changed(before, after)
        if after.pooled and not before.pooled:
            logger.info(
                "a pooler answers for %s; statements are not prepared there",
                after.host,
                extra=fields("PoolerFound", self._manager, host=after.host.label),
            )
        self.watch_foreign(table)
        self._watch_split(table, after)

    def _fields(self, event: Event) -> dict[str, object]:
        return fields_of(event, self._manager)

    def _role_changed(self, before: HostState, after: HostState) -> None:
        was, now = nature(before), nature(after)
        event = ev.RoleChanged(host=after.host.label, before=was, after=now)
        logger.warning("%s was %s and is %s", after.host, was, now, extra=self._fields(event))
        self._emit(event)

    def _up(self, before: HostState, after: HostState) -> None:
        down_for = None if before.down_since is None else monotonic() - before.down_since
        role = nature(after)
        event = ev.HostUp(host=after.host.label, role=role, down_for=down_for)
        extra = self._fields(event)
        if down_for is None:
            logger.info("%s is up: %s", after.host, role, extra=extra)
        else:
            logger.info("%s is up again after %.2f s: %s", after.host, down_for, role, extra=extra)
        self._emit(event)

    def _down(self, state: HostState) -> None:
        status = state.status.value
        reason = state.failure.text if state.failure else "no answer"
        event = ev.HostDown(host=state.host.label, status=status, reason=reason)
        logger.warning("%s is %s: %s", state.host, status, reason, extra=self._fields(event))
        self._emit(event)

    def watch_foreign(self, table: HostTable) -> None:
        """Report each host that belongs to another cluster than the one in use, once."""
        for state in table:
            index = state.host.index
            if not table.is_foreign(state):
                self._foreign.discard(index)
            elif index not in self._foreign:
                self._foreign.add(index)
                event = ev.ForeignHost(host=state.host.label)
                logger.error(
                    "%s belongs to another database cluster; remove it from the list",
                    state.host,
                    extra=self._fields(event),
                )
                self._emit(event)

    def _watch_split(self, table: HostTable, state: HostState) -> None:
        """Report a claim to be primary on a timeline that was left, once, when it is made.

        A dead primary's last claim is not one: the host itself has to answer so, and to accept
        writes. What the host in use has said counts if it was asked since this one answers as it
        does: they may be one server, which has been restarted.
        """
        if state.status is not Status.UP:
            return
        index = state.host.index
        rival = any(
            table.are_rivals(state, other) and other.status is Status.UP and other.writable
            for other in table
            if other.host.index == table.last and other.heard_at >= steady_since(state)
        )
        if state.writable is False or not (table.is_stale(state) or rival):
            self._split.discard(index)
            return
        if index in self._split:
            return
        self._split.add(index)
        newest = table.newest_timeline(state.system_id)
        event = ev.SplitBrain(
            host=state.host.label, timeline=state.timeline or 0, newest_timeline=newest
        )
        logger.error(
            "split brain: %s claims to be primary on timeline %s, but %s; it is not used",
            state.host,
            state.timeline,
            "so does the host in use" if rival else f"{newest} is newer",
            extra=self._fields(event),
        )
        self._emit(event)

    def dial_failed(self, state: HostState, failure: Failure) -> None:
        """Say that the pool could not add a connection; the same once a minute at most.

        What the host's own probe is about to find out is left to that, but not for ever: a probe
        may go on to succeed where dials fail.
        """
        now = monotonic()
        host = state.host
        if failure.kind in SEEN_BY_PROBES:
            since = self._unexplained.setdefault(host.index, now)
            if state.status is not Status.UP or state.failure or state.heard_at <= since:
                return
        key = (host.index, failure.kind)
        if now - self._dials.get(key, float("-inf")) > REPORT_AGAIN:
            self._dials[key] = now
            event = ev.DialFailed(host=host.label, kind=failure.kind.value, reason=failure.text)
            extra = self._fields(event)
            logger.warning("can't add a connection to %s: %s", host, failure, extra=extra)
            self._emit(event)

    def forget_unknown(self, table: HostTable) -> None:
        """Forget what was said of hosts that nothing is known of any more."""
        known = table.is_known
        self._dials = {key: at for key, at in self._dials.items() if known(key[0])}
        self._unexplained = {index: at for index, at in self._unexplained.items() if known(index)}
        self._split = {index for index in self._split if known(index)}
        self._foreign = {index for index in self._foreign if known(index)}

    def hosts_changed(self, table: HostTable, revision: Revision) -> None:
        """Say that the list of hosts is another one."""
        event = ev.HostsChanged(
            hosts=tuple(state.host.label for state in table),
            added=tuple(host.label for host in revision.added),
            gone=tuple(host.label for host in revision.gone),
        )
        logger.info(
            "the list of hosts has changed: %s",
            ", ".join(event.hosts),
            extra=self._fields(event),
        )
        self._emit(event)

    def list_unknown(self, failure: Failure) -> None:
        """Say that nobody could say which hosts there are; the same once a minute at most."""
        now = monotonic()
        if now - self._list_unknown_at > REPORT_AGAIN:
            self._list_unknown_at = now
            extra = fields("HostsUnknown", self._manager, reason=failure.text)
            logger.warning("the list of hosts stays as it is: %s", failure, extra=extra)

    # -- the choice of a host ------------------------------------------------------------------

    def connected(self, host: Host, seconds: float) -> None:
        """Say that the first host was chosen."""
        event = ev.Connected(host=host.label, seconds=seconds)
        logger.info("connected to %s after %.2f s", host, seconds, extra=self._fields(event))
        self._emit(event)

    def leaving(self, host: Host, reason: str) -> None:
        """Say that a host is left; what comes of it is the event."""
        extra = fields("Leaving", self._manager, host=host.label, reason=reason)
        logger.warning("leaving %s: %s", host, reason, extra=extra)

    def failover(self, before: Host, after: Host, reason: str, seconds: float) -> None:
        """Say that everyone was moved to another host."""
        event = ev.Failover(before=before.label, after=after.label, reason=reason, seconds=seconds)
        logger.warning(
            "failed over from %s to %s in %.3f s: %s",
            before,
            after,
            seconds,
            reason,
            extra=self._fields(event),
        )
        self._emit(event)

    def failback(self, before: Host, after: Host) -> None:
        """Say that everyone is moved back to a preferred host."""
        event = ev.Failback(before=before.label, after=after.label)
        extra = self._fields(event)
        logger.info("going back from %s to the preferred %s", before, after, extra=extra)
        self._emit(event)

    def outage_started(self, table: HostTable) -> None:
        """Say that no host qualifies."""
        reason = "; ".join(describe(state) for state in table)
        event = ev.OutageStarted(reason=reason)
        logger.warning("no host qualifies: %s", reason, extra=self._fields(event))
        self._emit(event)

    def outage_ended(self, host: Host, seconds: float) -> None:
        """Say that a host qualifies again."""
        event = ev.OutageEnded(host=host.label, seconds=seconds)
        extra = self._fields(event)
        logger.info("%s qualifies after %.2f s without a host", host, seconds, extra=extra)
        self._emit(event)

    def stalled(self, host: Host, limit: float) -> None:
        """Say that the only host does not answer."""
        event = ev.Stalled(host=host.label)
        logger.warning(
            "%s does not answer; no other host qualifies, so it is given %g s",
            host,
            limit,
            extra=self._fields(event),
        )
        self._emit(event)

    def stall_ended(self, host: Host, seconds: float) -> None:
        """Say that it answers again."""
        event = ev.StallEnded(host=host.label, seconds=seconds)
        logger.info("%s answers again after %.2f s", host, seconds, extra=self._fields(event))
        self._emit(event)

    def reconnect_failed(self, seconds: float) -> None:
        """Say that the search takes long."""
        event = ev.ReconnectFailed(seconds=seconds)
        extra = self._fields(event)
        logger.error("no host has qualified for %.1f s; still searching", seconds, extra=extra)
        self._emit(event)

    def gave_up(self, tries: int, seconds: float) -> None:
        """Say that the search has ended without a host."""
        event = ev.GaveUp(tries=tries, seconds=seconds)
        logger.error(
            "gave up after %d tries in %.1f s; reconnect() starts anew",
            tries,
            seconds,
            extra=self._fields(event),
        )
        self._emit(event)


def nature(state: HostState) -> str:
    """Return what a host is, in a word or two."""
    if state.role is Role.PRIMARY and state.writable is False:
        return "read-only primary"
    if state.role is Role.UNKNOWN and state.writable is not None:
        return "writable" if state.writable else "read-only"
    return state.role.value
