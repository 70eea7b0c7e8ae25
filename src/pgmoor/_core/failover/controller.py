"""Decides whenever something was learnt or falls due, and moves everybody accordingly."""

from __future__ import annotations

import logging
from time import monotonic
from typing import TYPE_CHECKING

from pgmoor import events as ev
from pgmoor._core.hosts.decision import Action, Decision, Reason, decide
from pgmoor._core.hosts.host import was_replaced
from pgmoor._core.reporting.log_fields import fields
from pgmoor.errors import NoHostAvailable
from pgmoor.health import State, Status

from .announcer import SwitchAnnouncer
from .failback import FailbackFiller
from .host_pools import lives
from .wakefulness import Wakefulness

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pgmoor._core.hosts.host import Host, HostState, Observation
    from pgmoor._core.pool.checkout_queue import CheckoutQueue
    from pgmoor._core.pool.host_pool import HostPool
    from pgmoor._core.state.live import LiveState

    from .host_pools import HostPools

logger = logging.getLogger("pgmoor.hosts")


class FailoverController:
    """Chooses the host, leaves it, and goes back to a preferred one."""

    def __init__(self, live: LiveState, queue: CheckoutQueue, pools: HostPools) -> None:
        self._settings = live.settings
        self._rules = live.settings.rules
        self._evidence = live.evidence
        self._table = live.evidence.table
        self._suspicion = live.evidence.suspicion
        self._phase = live.phase
        self._availability = live.availability
        self._reporter = live.reporter
        self._announcer = SwitchAnnouncer(live)
        self._queue = queue
        self._pools = pools
        self._coming: int | None = None  # the host that is being switched to
        self._failback_now = False
        self._settling = False  # a host qualifies, and the others are waited for
        self._wakefulness = Wakefulness(live.evidence.changed)
        self._failback = FailbackFiller(live, queue, pools, self._wakefulness)
        self._evidence.on_change = self._react
        self._evidence.on_repeat = self._repeated

    # -- evidence ------------------------------------------------------------------------------

    def _react(self, seen: Observation, before: HostState, after: HostState) -> None:
        """Do at once what an observation calls for, whatever is decided later."""
        pool = self._serving_from(seen.host)
        failed = before.failure is not None and not before.is_unanswered
        if pool is not None and not seen.dialled:
            pool.sweep()
            if failed:
                pool.dialler.failed_at = before.silent_since or before.asked_at
            if pool.dialler.failed_at is not None and after.status is Status.UP:
                if not after.is_unanswered:  # else what was asked since may still be answered
                    pool.dialler.restart()
            elif seen.new_session and seen.info:
                pool.dialler.outdone(seen.asked_at)
        if was_replaced(before, after):
            self._pools.cut_off(before.host, "another server has taken over its address")
        self._pools.retired.cut(self._table, serving=self._phase.current is not None)
        if pool is not None and seen.info and self._evidence.qualifies(after.host):
            self._queue.answered(seen.asked_at)

    def _repeated(self, host: int, asked_at: float) -> None:
        """Look at the pool whose host has said once more what was known of it."""
        pool = self._serving_from(host)
        if pool is not None:
            pool.sweep()
            self._queue.answered(asked_at)

    def _serving_from(self, host: int) -> HostPool | None:
        """Return the pool that callers are served from, if it is that host's."""
        pool = self._queue.pool
        return pool if pool is not None and pool.host.index == host else None

    def revise(self, hosts: Sequence[Host]) -> None:
        """Take a new list of hosts; the one in use is left when another qualifies."""
        in_use = {self._phase.current, self._table.last, self._coming}
        in_use |= {pool.host.index for pool in self._pools.retired}
        self._evidence.revise(hosts, in_use)

    # -- requests ------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to look for a host."""
        self._announcer.opened()
        self._search(State.STARTING)

    def wake(self) -> None:
        """Look for a host after having been quiet; the one that was in use may be another now."""
        last = self._table.last
        assert last is not None  # it was in use
        self._announcer.woken(self._table[last].host)
        self._phase.waking = True
        self._search(State.STARTING)

    def restart(self, *, forget_timelines: bool = False) -> None:
        """Search again after having given up; *forget_timelines* that no host is on now."""
        if forget_timelines:
            self._evidence.forget_timelines()
        if self._phase.given_up:
            self._search(State.SEARCHING)
            self._evidence.requests.probe_all()

    def failback(self) -> None:
        """Go back to a preferred host that qualifies, without waiting for `failback_after`."""
        self._failback_now = True
        self._failback.postponements.clear()
        self._evidence.changed.set()

    def give_up(self, tries: int, seconds: float) -> None:
        """Stop searching; callers who wait fail."""
        if not self._phase.outage_announced:
            self._announce_outage()
        self._phase.give_up()
        self._reporter.tell(ev.GaveUp(tries=tries, seconds=seconds))
        self._fail_waiting()

    def stop(self) -> None:
        """Leave the current host for good."""
        pool = self._queue.pool
        self._queue.serve_from(None)
        if pool is not None:
            self._pools.retired.retire(pool, "the manager is closed", abort=False)
        self._phase.close()

    # -- deciding ------------------------------------------------------------------------------

    async def run(self) -> None:
        """Decide whenever something was learnt or falls due; ends only by cancellation."""
        self._wakefulness.expected(self._phase.since)  # it was to begin as the manager was opened
        while True:
            self._evidence.changed.clear()
            recheck_at: float | None = None
            try:
                recheck_at = await self._step()
            except Exception:  # one bad turn must not end all decisions
                extra = fields("InternalError", self._settings.name, task="steering")
                logger.exception("carrying out a decision failed", extra=extra)
                recheck_at = monotonic() + 0.1
            await self._wakefulness.wait(recheck_at)

    def _decide(self) -> Decision:
        return decide(
            self._table,
            self._rules,
            self._phase.current,
            self._phase.searching_since,
            monotonic(),
            failback_now=self._failback_now,
            awake_since=self._wakefulness.since,
            postponed=self._failback.postponements.until,
            has_sessions=self._has_sessions(),
        )

    def _has_sessions(self) -> bool:
        """Return whether connections to the host in use live; True unless new ones fail."""
        current, pool = self._phase.current, self._queue.pool
        if current is None or pool is None:
            return True
        state = self._table[current]
        new_ones_fail = state.status is Status.REJECTED or state.refuses_sessions
        return not new_ones_fail or any(map(lives, pool.connections))

    async def _step(self) -> float | None:
        """Decide once and act; return when to decide again, if time alone can change it."""
        self._evidence.settled = False
        if self._phase.given_up or self._phase.quiet:
            return None
        decision = self._decide()
        match decision.action:
            case Action.SWITCH:
                await self._switch(decision)
            case Action.LEAVE:
                self._leave(decision)
            case Action.STAY:
                return self._stay(decision)
            case Action.WAIT:
                return self._wait(decision)
        self._failback_now = False
        return monotonic()

    def _stay(self, decision: Decision) -> float | None:
        phase = self._phase
        assert phase.current is not None
        self._failback_now = False
        state = self._table[phase.current]
        host = state.host.label
        if decision.reason is Reason.ONLY_ONE_LEFT and phase.state is not State.STALLED:
            phase.enter(State.STALLED)
            self._reporter.tell(ev.Stalled(host=host))
        elif decision.reason is Reason.FINE and phase.state is State.STALLED:
            self._reporter.tell(ev.StallEnded(host=host, seconds=monotonic() - phase.since))
            phase.enter(State.READY)
        follow_up_at = self._watch(state)
        suspected = self._suspicion.since is not None or follow_up_at is not None
        calm = decision.reason is Reason.FINE and not suspected
        sound = not any(self._pools.retired) and self._table.is_sound(phase.current)
        self._evidence.settled = calm and sound
        return _first(decision.recheck_at, follow_up_at)

    def _watch(self, current: HostState) -> float | None:
        """Follow up the doubts about the hosts; return when to do so again, if time decides."""
        now = monotonic()
        host = current.host
        due = [self._evidence.follow_up(state, now) for state in (*self._table, current)]
        answer_by = self._suspicion.unanswered(current)
        if current.silent_since is not None:
            self._evidence.probe_all(f"{host} missed a health check")
        elif answer_by is not None and now >= answer_by:
            self._evidence.probe_all(f"{host} is in doubt, and has not answered yet")
        until = answer_by if self._suspicion.since is None else None
        check_at = self._suspicion.resolve(self._table, current, self._rules.settle, now)
        return _first(*due, until, check_at)

    def _wait(self, decision: Decision) -> float | None:
        settling = decision.reason is Reason.SETTLING
        if settling and not self._settling:
            # What ended the silence of one host may have ended that of the others.
            self._evidence.requests.probe_all()
        self._settling = settling
        since = self._phase.searching_since
        assert since is not None
        if decision.reason is Reason.NONE and not self._phase.outage_announced:
            due = max(since, self._wakefulness.since) + self._grace()
            if monotonic() < due:
                return due
            self._announce_outage()
        return decision.recheck_at

    def _grace(self) -> float:
        """Return the seconds of a search before it counts as an outage.

        At the start nothing is wrong while the first answers may still be on their way, nor while a
        database may be waking that slept as long as nobody asked it.
        """
        if self._phase.waking:
            return max(self._settings.settle, self._settings.connect_timeout)
        starting = self._phase.state is State.STARTING
        if starting and any(state.asked_at == float("-inf") for state in self._table):
            return max(self._settings.settle, self._settings.health_timeout)
        return self._settings.settle

    def _announce_outage(self) -> None:
        self._phase.announce_outage()
        self._reporter.outage_started(self._availability.hosts())
        if self._settings.when_down == "fail":
            self._fail_waiting()

    def _fail_waiting(self) -> None:
        refusal = self._availability.refusal
        self._queue.waiting.fail_all(lambda: refusal() or NoHostAvailable("no host available"))

    # -- acting --------------------------------------------------------------------------------

    def _search(self, state: State) -> None:
        self._settling = False
        self._suspicion.clear()
        self._phase.search(state)
        self._evidence.changed.set()

    def _leave(self, decision: Decision) -> None:
        assert self._phase.current is not None
        pool = self._queue.pool
        state = self._table[self._phase.current]
        reason = self._announcer.leaving(state, decision)
        self._phase.current = None
        self._queue.serve_from(None)
        if pool is not None:
            self._pools.retired.retire(
                pool, f"the manager left the host: {reason}", abort=decision.abort
            )
        self._search(State.SEARCHING)
        self._evidence.requests.probe_all()

    async def _switch(self, decision: Decision) -> None:
        assert decision.host is not None
        host = self._table[decision.host].host
        if self._phase.current is not None and decision.reason is not Reason.PREFERRED:
            self._announcer.lost(self._table[self._phase.current].host)
        pool = self._pools.make(host)
        self._coming = host.index  # the list may change while its pool is filled
        try:
            await pool.open()
            if decision.reason is Reason.PREFERRED and not await self._fill(pool, decision):
                return
        except BaseException:
            self._pools.retired.retire(pool, "it was not needed after all", abort=True)
            raise
        finally:
            self._coming = None
        self._take_over(pool, decision)

    def _take_over(self, pool: HostPool, decision: Decision) -> None:
        """Serve everybody from *pool*, and retire the one in use."""
        host, old, before = pool.host, self._queue.pool, self._phase.current
        former = None if before is None else self._table[before].host
        self._phase.current = host.index
        if self._table.adopt(host.index):
            self._reporter.tell(ev.ClusterRebuilt(host=host.label))
        self._reporter.watch_foreign(self._table)
        self._queue.serve_from(pool)
        if old is not None:
            reason = f"the manager left the host for {host}: {decision.reason.value}"
            self._pools.retired.retire(old, reason, abort=decision.abort)
        self._announcer.switched(host, former, decision)
        self._suspicion.clear()
        self._phase.use(host.index)
        self._evidence.requests.probe_all()  # also those that were left to the reconnect task
        self._phase.enter(State.READY)

    async def _fill(self, pool: HostPool, decision: Decision) -> bool:
        """Fill a preferred host's pool; return whether it is to take over now."""

        def still_wanted() -> bool:
            if self._phase.current is not None:
                self._watch(self._table[self._phase.current])
            return self._decide() == decision

        return await self._failback.fill(pool, still_wanted)


def _first(*instants: float | None) -> float | None:
    return min((at for at in instants if at is not None), default=None)
