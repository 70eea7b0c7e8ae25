"""What one manager wants to know of one host, and what it does with what others learn there."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pgmoor._core.hosts.failures import Failure, FailureKind
from pgmoor._core.hosts.probe_pace import BURST_FIRST, pace
from pgmoor._core.hosts.sharing import agree
from pgmoor._core.util.asynctools import spawn
from pgmoor.health import Status

from .host_probe import Pause

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Hashable

    from pgmoor._core.hosts.host import Host, Observation
    from pgmoor._core.state.live import LiveState

    from .host_probe import HostProbe, Ticks
    from .loop_watch import LoopWatch
    from .prober import Prober

MAX_AGE = 1.0  # seconds; see `max_age()`
FOREVER = float("inf")


class ProbeClient:
    """One manager's interest in one host."""

    def __init__(
        self, live: LiveState, prober: Prober, watch: LoopWatch, ticks: Ticks, key: Hashable
    ) -> None:
        self.name: str = live.settings.name
        self.host: Host = prober.host
        self.key = key
        self.ticks = ticks
        self.verified = False
        self.parting = False
        self.ending: list[asyncio.Task[object]] = []  # tasks that ask for it no more
        self._interval = live.settings.health_interval
        self._at_rest = Pause(self._interval, BURST_FIRST, regular=True)
        self._evidence = live.evidence
        self._phase = live.phase
        self._instruments = live.instruments
        self._prober = prober
        self._watch = watch
        self._probe: HostProbe | None = None
        self._dialled: Observation | None = None  # by a dial that contradicts the probes
        self._passed_on: Observation | None = None  # the newest that another manager has learnt

    def enter(self) -> None:
        """Begin to be told of the host."""
        self._evidence.requests.attach(self.host.index, self)
        self._watch.enter(self)

    def leave(self) -> None:
        """Be told no more."""
        if self._probe is not None:
            self._evidence.requests.drop(self.host.index)
            closing = spawn(self._prober.aclose(), f"pgmoor-close-{self.host}")
            self.ending = [*self._watch.leave(self), closing]
            self._probe = None

    @property
    def alive(self) -> bool:
        """Whether it is asked for, until it leaves."""
        probe = self._probe
        return probe is None or probe.alive

    @property
    def probe(self) -> HostProbe:
        """What asks for it now."""
        assert self._probe is not None
        return self._probe

    @probe.setter
    def probe(self, probe: HostProbe) -> None:
        if self._probe is not None and self._probe.wanted.is_set():
            probe.wanted.set()
        self._probe = probe

    # -- requests of the manager ---------------------------------------------------------------

    def want(self) -> None:
        """Have the host probed now."""
        self.probe.wanted.set()

    def doubt_others(self) -> None:
        """Have it probed by this manager alone: what others learn there does not hold for it."""
        self._watch.part(self)

    def contradicted(self, seen: Observation) -> None:
        """Note that a dial has shown something else than the probes do, and have it probed now."""
        self._dialled = seen
        self.want()

    # -- asking --------------------------------------------------------------------------------

    async def ask(self, *, max_age: float, redial: bool, renew: bool) -> Observation:
        """Ask over a session of this manager."""
        if redial:
            self._prober.close()
        return await self._prober.probe(max_age, renew=renew)

    def hang_up(self) -> None:
        """Close this manager's session."""
        self._prober.close()

    def takes_redial(self) -> bool:
        """Return whether it asked for a new session, and forget that."""
        return self._evidence.requests.takes_redial(self.host.index)

    def max_age(self) -> float:
        """Return how old a probe's session may be, in seconds.

        During a search, the address of a host that does not qualify may have been given to another
        server, which an old session would never tell.
        """
        if self._phase.searching_since is None or self._evidence.qualifies(self.host):
            return FOREVER
        return MAX_AGE

    def renews(self) -> bool:
        """Return whether the host accepted no new session, and nobody but the probe would try.

        Sessions that live there may finish, so the probe's own says whether it is up.
        """
        state = self._evidence.table[self.host.index]
        if self.host.index != self._phase.current:
            return state.refuses_sessions
        # Dials that were delivered wait for long: they may be lost.
        return state.dials is not None and state.dials.failure.kind is FailureKind.TIMEOUT

    def pause(self, now: float) -> Pause:
        """Return how long it can wait for the next answer."""
        if self._evidence.at_rest:
            return self._at_rest
        state = self._evidence.table[self.host.index]
        situation = self._phase.situation(self._evidence.suspicion)
        delay = pace(state, situation, self._interval, now)
        if delay is None:
            return Pause(None)
        if state.status is Status.REJECTED:
            return Pause(delay, least=delay)  # nothing but time or a person will help
        return Pause(delay, BURST_FIRST, regular=situation.unsure_since is None)

    # -- outcomes ------------------------------------------------------------------------------

    def take(self, seen: Observation, *, own: bool) -> None:
        """Take an outcome: of its *own* session, or of another manager's."""
        if not own:
            if seen.info is not None and not self._holds_for_us(seen):
                self._watch.part(self)
                return
            self._passed_on = seen
        kind = seen.failure.kind.value if seen.failure else None
        for instrument in self._instruments:
            instrument.probed(self.host.label, seen.answered_at - seen.asked_at, kind)
        if not self._evidence.repeat(self.host.index, seen):
            if not own:  # another's session proves nothing of ours
                seen = self._as_ours(seen)
            self._evidence.observe(seen)

    def _as_ours(self, seen: Observation) -> Observation:
        """Return what another manager has learnt, with what this one has heard of the host."""
        hearing = self._evidence.hearings.of(self.host.index)
        served = seen.served or hearing.statement_at > seen.asked_at
        failure = seen.failure
        silent = failure is not None and failure.kind is FailureKind.TIMEOUT
        if failure is not None and silent and hearing.since(seen.asked_at):
            failure = Failure(FailureKind.UNANSWERED, failure.text)
        return replace(
            seen, host=self.host.index, failure=failure, served=served, new_session=False
        )

    def _holds_for_us(self, seen: Observation) -> bool:
        """Return whether another manager's answer can be this one's, too.

        Not before the host has answered a session of its own, nor where it takes none any more. And
        not when others get the same answer before and after a dial that has shown something else.
        """
        dialled, before = self._dialled, self._passed_on
        if dialled is not None and seen.asked_at > dialled.asked_at:
            self._dialled = None
            if before is not None and agree(before, seen) and not agree(dialled, seen):
                return False
        return self.verified and not self.renews()
