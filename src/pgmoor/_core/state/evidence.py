"""What is known of the hosts, by whatever answered or failed, and whether to suspect one."""

from __future__ import annotations

import asyncio
import logging
from time import monotonic
from typing import TYPE_CHECKING

from pgmoor._core.hosts.decision import Reason
from pgmoor._core.hosts.failures import Failure, FailureKind
from pgmoor._core.hosts.hearing import Hearings
from pgmoor._core.hosts.host import Observation
from pgmoor._core.hosts.rules import Target, rank
from pgmoor._core.hosts.sharing import concerns_one_login, contradicts, is_complete
from pgmoor._core.hosts.suspicion import Suspicion
from pgmoor._core.hosts.table import HostTable
from pgmoor._core.reporting.log_fields import fields
from pgmoor._core.util.asynctools import Notifier
from pgmoor.health import Status

from .probe_requests import ProbeRequests

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from pgmoor._core.hosts.host import Host, HostState
    from pgmoor._core.hosts.table import Revision
    from pgmoor._core.reporting.reporter import Reporter
    from pgmoor._core.settings.settings import Settings

logger = logging.getLogger("pgmoor.hosts")


class Evidence:
    """The host table, the newest failure of each host's dials, and the doubts about the hosts."""

    def __init__(self, settings: Settings, reporter: Reporter) -> None:
        self.table: HostTable = HostTable(settings.hosts)
        self.suspicion: Suspicion = Suspicion(settings.health_interval)
        self.dial_failures: dict[int, Failure] = {}  # by host: of its newest dial
        self.hearings: Hearings = Hearings()
        self.requests: ProbeRequests = ProbeRequests()
        self.changed: asyncio.Event = asyncio.Event()  # set when there is something to decide
        self.notifier: Notifier = Notifier()  # wakes those who wait for a condition
        # Called with each observation that was applied, before anything else happens.
        self.on_change: Callable[[Observation, HostState, HostState], None] = _ignore
        # Called with a host's index when an answer has only repeated what was known, and with the
        # instant at which it was asked.
        self.on_repeat: Callable[[int, float], None] = _ignore_repeat
        self.settled = False  # an answer that repeats what is known would change no decision
        self._settings = settings
        self._rules = settings.rules
        self._reporter = reporter

    def observe(self, seen: Observation) -> None:
        """Apply what a probe or a dial has learnt, and have the controller react."""
        if seen.dialled and seen.info:
            known = self.table[seen.host].started
            if None not in (known, seen.info.started) and known != seen.info.started:
                self.requests.redial(seen.host)  # the address leads to another server by now
            if not is_complete(seen.info):
                self.requests.doubt_others(seen.host)
            elif contradicts(seen.info, self.table[seen.host]):
                self.requests.contradicted(seen)
        before, after = self.table.apply(seen)
        self._weigh(seen, before, after)
        self._reporter.observed(self.table, before, after)
        self.on_change(seen, before, after)
        self.announce()

    @property
    def at_rest(self) -> bool:
        """Whether there is nothing to decide until an answer says something new."""
        return self.settled and not self.changed.is_set()

    def repeat(self, index: int, seen: Observation) -> bool:
        """Take an answer of host *index* that changes nothing; return False for any other.

        At rest every answer is one, and costs microseconds.
        """
        if not self.at_rest or not self.table.repeat(index, seen, self._rules.expiry / 2):
            return False
        self.on_repeat(index, seen.asked_at)
        self.notifier.notify()
        return True

    def dial_succeeded(self, host: Host) -> None:
        """Forget why connections for the pool could not be made: one was, `configure` included."""
        self.dial_failures.pop(host.index, None)

    def dial_failed(self, host: Host, failure: Failure) -> None:
        """Record that a connection for the pool could not be made."""
        self.dial_failures[host.index] = failure
        if concerns_one_login(failure):
            self.requests.doubt_others(host.index)
        if host.index == self.table.last:
            now = monotonic()
            self.observe(Observation(host.index, now, now, failure=failure, dialled=True))
        self._reporter.dial_failed(self.table[host.index], failure)
        if failure.kind is not FailureKind.SATURATED:
            self.suspect("a dial failed", host)

    def dial_waits(self, host: Host, failure: Failure) -> None:
        """Record that a connection for the pool is not made yet, although it may be."""
        if host.index == self.table.last:
            now = monotonic()
            self.observe(Observation(host.index, now, now, failure=failure, dialled=True))
        self.suspect("a dial is not answered", host)

    def suspect(self, why: str, host: Host | None = None) -> bool:
        """Doubt *host*, or else the one in use: have it probed, at once if *why* is new.

        Doubts of one kind, that is with the same *why*, count less each time they are proved wrong.
        Return whether it is probed at once.
        """
        index = self.table.last if host is None else host.index
        if index is None or not self.table.is_known(index):
            return False
        now = monotonic()
        if not self.suspicion.doubt(index, why, now):
            return False
        self.changed.set()  # the controller sees to it that an answer comes
        return self.follow_up(self.table[index], now, why) is None

    def follow_up(self, state: HostState, now: float, why: str = "doubts remain") -> float | None:
        """Probe a host for the doubts about it if that is due; return when it will be, else."""
        due = self.suspicion.due(state)
        if due is None or due > now:
            return due
        extra = fields("Probing", self._settings.name, host=state.host.label, reason=why)
        logger.debug("probing %s: %s", state.host, why, extra=extra)
        self.suspicion.probed(state.host.index, now)
        self.requests.probe(state.host.index)
        return None

    def probe_all(self, why: str) -> None:
        """Have all hosts probed in a burst, until the host in use has answered."""
        if self.suspicion.begin(monotonic()):
            extra = fields("ProbingAll", self._settings.name, reason=why)
            logger.debug("probing all hosts: %s", why, extra=extra)
            self.requests.probe_all()

    def forget_timelines(self) -> None:
        """Forget all timelines but those that hosts are on now, and ask all hosts again."""
        self.table.forget_timelines()
        extra = fields("TimelinesForgotten", self._settings.name)
        logger.warning("forgot timelines that no host is on now, as requested", extra=extra)
        self.requests.probe_all()
        self.announce()

    def _weigh(self, seen: Observation, before: HostState, after: HostState) -> None:
        """Judge the doubts about a host by an observation of it."""
        if seen.dialled and seen.failure:
            return  # that is a doubt itself
        known_trouble = after.status is Status.REJECTED and before.status is Status.REJECTED
        sound = after.status is Status.UP and self._objection(after) is None
        if after.misses == 0 and (sound or known_trouble):
            self.suspicion.settle(seen.host, seen.asked_at)
        else:
            self.suspicion.confirm(seen.host)

    def revise(self, hosts: Sequence[Host], keep: Collection[int | None]) -> Revision:
        """Replace the list of hosts; those in *keep* are remembered although they are gone."""
        revision = self.table.revise(hosts, keep)
        for index in [index for index in self.dial_failures if not self.table.is_known(index)]:
            del self.dial_failures[index]
        self.suspicion.forget(self.table.is_known)
        self.hearings.forget(self.table.is_known)
        self._reporter.hosts_changed(self.table, revision)
        self.announce()
        return revision

    def announce(self) -> None:
        """Have the controller decide, and those who wait check their conditions."""
        self.changed.set()
        self.notifier.notify()

    # -- which servers qualify -----------------------------------------------------------------

    def qualifies(self, host: Host) -> bool:
        """Return whether a host would qualify by what is known of it now."""
        return self._objection(self.table[host.index]) is None

    def rejects(self, seen: Observation) -> Failure | None:
        """Return why a connection to a server that answers so is not wanted, or None if it is."""
        objection = self._objection(self.table.preview(seen))
        return None if objection is None else Failure(FailureKind.ROLE, objection.value)

    @property
    def wants_writes(self) -> bool:
        """Whether a server that refuses writes does not satisfy the target."""
        return self._rules.target in (Target.PRIMARY, Target.READ_WRITE)

    def _objection(self, state: HostState) -> Reason | None:
        if self.table.is_stale(state):
            return Reason.STALE
        if self.table.is_foreign(state):
            return Reason.FOREIGN
        return Reason.ROLE if rank(self._rules.target, state) is None else None


def _ignore_repeat(index: int, asked_at: float) -> None:
    """Do nothing: no controller has been made yet."""


def _ignore(seen: Observation, before: HostState, after: HostState) -> None:
    """Do nothing: no controller has been made yet."""
