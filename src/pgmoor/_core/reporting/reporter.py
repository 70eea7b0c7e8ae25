"""Tells what happened: one log line and one event for each transition."""

from __future__ import annotations

import logging
from dataclasses import replace
from time import monotonic
from typing import TYPE_CHECKING

from pgmoor import events as ev
from pgmoor._core.hosts.failures import Failure, FailureKind
from pgmoor._core.hosts.settling import steady_since
from pgmoor._core.util.once_per import OncePer
from pgmoor.health import HostHealth, Status

from .log_fields import fields, fields_of

if TYPE_CHECKING:
    from pgmoor._core.hosts.host import Host, HostState
    from pgmoor._core.hosts.table import HostTable, Revision
    from pgmoor.events import Event
    from pgmoor.instruments import Instrument

    from .listeners import Listeners

logger = logging.getLogger("pgmoor.hosts")

LEVELS: dict[type[ev.Event], int] = {
    ev.HostDown: logging.WARNING,
    ev.RoleChanged: logging.WARNING,
    ev.SplitBrain: logging.ERROR,
    ev.ForeignHost: logging.ERROR,
    ev.ClusterRebuilt: logging.WARNING,
    ev.Failover: logging.WARNING,
    ev.FailbackPostponed: logging.WARNING,
    ev.OutageStarted: logging.WARNING,
    ev.Stalled: logging.WARNING,
    ev.ReconnectFailed: logging.ERROR,
    ev.GaveUp: logging.ERROR,
    ev.DialFailed: logging.WARNING,
    ev.PoolSaturated: logging.WARNING,
    ev.HeldTooLong: logging.WARNING,
    # All others are logged as INFO.
}
REPORT_AGAIN = 60.0  # seconds before the same failure of a host's dials is reported again
SEEN_BY_PROBES = frozenset(
    {
        FailureKind.REFUSED,
        FailureKind.RESET,
        FailureKind.TIMEOUT,
        FailureKind.UNANSWERED,
        FailureKind.STARTING,
        FailureKind.NAME,
        FailureKind.ROLE,
    }
)


class Reporter:
    """Turns transitions of hosts and of the manager into log lines and events."""

    def __init__(self, manager: str, instruments: list[Instrument], listeners: Listeners) -> None:
        self._manager = manager
        self._instruments = instruments
        self._listeners = listeners
        self._dials: OncePer[tuple[int, FailureKind]] = OncePer(
            REPORT_AGAIN
        )  # keys: a host's index and the kind of failure
        self._unexplained: dict[int, float] = {}  # when a host's dials began to fail, by index
        self._split: set[int] = set()
        self._foreign: set[int] = set()
        self._list_unknown: OncePer[None] = OncePer(REPORT_AGAIN)

    def tell(self, event: Event, log: logging.Logger = logger, message: str | None = None) -> None:
        """Log an event in its own words, or as *message*, and emit it."""
        named = replace(event, manager=self._manager)
        level = LEVELS.get(type(event), logging.INFO)
        log.log(level, "%s", named if message is None else message, extra=fields_of(named))
        for instrument in self._instruments:
            instrument.happened(named)
        self._listeners.emit(named)

    # -- one host ------------------------------------------------------------------------------

    def observed(self, table: HostTable, before: HostState, after: HostState) -> None:
        """Report how one host changed."""
        host = after.host.label
        if after.status is not Status.UP:
            self._unexplained.pop(after.host.index, None)
        if after.status is not before.status:
            if after.status is Status.UP:
                down_for = None if before.down_since is None else monotonic() - before.down_since
                self.tell(ev.HostUp(host=host, role=after.label, down_for=down_for))
            else:
                reason = after.failure.text if after.failure else "no answer"
                self.tell(ev.HostDown(host=host, status=after.status.value, reason=reason))
        elif after.status is Status.UP and before.label != after.label:
            self.tell(ev.RoleChanged(host=host, before=before.label, after=after.label))
        if after.pooled and not before.pooled:
            logger.info(
                "%s is behind a pooler; not preparing statements there",
                host,
                extra=fields("PoolerFound", self._manager, host=host),
            )
        self.watch_foreign(table)
        self._watch_split(table, after)

    def watch_foreign(self, table: HostTable) -> None:
        """Report each host that belongs to another cluster than the one in use, once."""
        for state in table:
            index = state.host.index
            if not table.is_foreign(state):
                self._foreign.discard(index)
            elif index not in self._foreign:
                self._foreign.add(index)
                self.tell(ev.ForeignHost(host=state.host.label))

    def _watch_split(self, table: HostTable, state: HostState) -> None:
        """Report a claim to be primary on a superseded timeline, once, when it is made.

        A dead primary's last claim is not one: the host itself has to answer so, and to accept
        writes. What the host in use has said counts only if it was asked after this one began to
        answer as it does: both may be one server that was restarted.
        """
        if state.status is not Status.UP:
            return
        index = state.host.index
        rival = any(
            table.are_rivals(state, other) and other.status is Status.UP and other.writable
            for other in table
            if other.host.index == table.last and other.answered_at >= steady_since(state)
        )
        if state.writable is False or not (table.is_stale(state) or rival):
            self._split.discard(index)
        elif index not in self._split:
            self._split.add(index)
            newest = table.newest_timeline(state.system_id)
            claimed = state.timeline or 0
            self.tell(
                ev.SplitBrain(host=state.host.label, timeline=claimed, newest_timeline=newest)
            )

    def dial_failed(self, state: HostState, failure: Failure) -> None:
        """Report that the pool could not add a connection; the same once a minute at most.

        What the host's own probe is about to find out is left to the probe, but not for ever: it
        may go on to succeed where dials fail.
        """
        now = monotonic()
        host = state.host
        if failure.kind in SEEN_BY_PROBES:
            since = self._unexplained.setdefault(host.index, now)
            if state.status is not Status.UP or state.failure or state.answered_at <= since:
                return
        if self._dials.allows(now, (host.index, failure.kind)):
            self.tell(ev.DialFailed(host=host.label, kind=failure.kind.value, reason=failure.text))

    # -- the list of hosts ---------------------------------------------------------------------

    def hosts_changed(self, table: HostTable, revision: Revision) -> None:
        """Report that the list of hosts is another one; forget what was said of hosts now gone."""
        known = table.is_known
        self._dials.forget(lambda key: not known(key[0]))
        self._unexplained = {index: at for index, at in self._unexplained.items() if known(index)}
        self._split = {index for index in self._split if known(index)}
        self._foreign = {index for index in self._foreign if known(index)}
        if revision.added or revision.gone:
            self.tell(
                ev.HostsChanged(
                    hosts=tuple(state.host.label for state in table),
                    added=tuple(host.label for host in revision.added),
                    gone=tuple(host.label for host in revision.gone),
                )
            )

    def list_unknown(self, failure: Failure) -> None:
        """Log that the callable for the hosts gave none; once a minute at most."""
        if self._list_unknown.allows(monotonic(), None):
            extra = fields("HostsUnknown", self._manager, reason=failure.text)
            logger.warning("can't update the list of hosts, keeping it: %s", failure, extra=extra)

    def leaving(self, host: Host, reason: str) -> None:
        """Log that a host is left; the event that follows tells what came of it."""
        extra = fields("Leaving", self._manager, host=host.label, reason=reason)
        logger.warning("leaving %s: %s", host, reason, extra=extra)

    def outage_started(self, hosts: tuple[HostHealth, ...]) -> None:
        """Report that no host qualifies."""
        self.tell(ev.OutageStarted(reason="; ".join(map(str, hosts))))
