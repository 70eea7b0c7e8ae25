"""Carries out decisions: which host's pool serves, and what happens to the ones that were left.

`observe()` takes in evidence; `run()` decides whenever something was learnt or falls due.
"""

from __future__ import annotations

import asyncio
import logging
from time import monotonic
from typing import TYPE_CHECKING

import anyio

from . import events as ev
from .doubt import Doubt
from .errors import NoHostAvailable
from .fuse import LATE
from .health import SERVING, HostHealth, State, Status
from .hosts import Host, HostState, HostTable, Observation, was_replaced
from .left import LeftPools
from .logs import fields
from .policy import Action, Decision, Reason, Situation, Target, decide, rank
from .report import Reporter
from .signal import Signal
from .sqlstate import READ_ONLY_SQL_TRANSACTION, Failure, FailureKind

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from psycopg import errors as pg_errors

    from .checkout import Desk
    from .config import Settings
    from .connection import ManagedConnection
    from .events import Event
    from .hosts import Revision
    from .instruments import Instrument
    from .pool import HostPool

logger = logging.getLogger("pgmoor.hosts")

WARM_LIMIT = 5.0  # seconds that a failback waits for the preferred host's pool to fill


class Steering:
    """The current host, the search for one, and the pools that were left but are still in use."""

    def __init__(
        self,
        settings: Settings,
        desk: Desk,
        *,
        make_pool: Callable[[Host], HostPool],
        emit: Callable[[Event], None],
        instruments: list[Instrument],
    ) -> None:
        self.table = HostTable(settings.hosts)
        self.current: int | None = None
        self._coming: int | None = None  # the host that is being switched to
        self.state = State.NEW
        self.state_since = monotonic()
        self.left_pools = LeftPools()
        self.signal = Signal()
        self.searching = asyncio.Event()
        self.found = asyncio.Event()
        self._settings = settings
        self._rules = settings.rules
        self._desk = desk
        self._make_pool = make_pool
        self._report = Reporter(settings.name, emit)
        self._instruments = instruments
        self._changed = asyncio.Event()
        self._opened_at = 0.0
        self._search_since: float | None = None
        self._trouble_since: float | None = None  # with the host that was left
        self._left: tuple[Host, Reason] | None = None  # the host that is being failed over from
        self._dial_failures: dict[int, Failure] = {}  # by host: of its newest dial
        self._outage_announced = False
        self._outage_since: float | None = None  # of one that is announced; it outlasts giving up
        self._given_up = False
        self._doubt = Doubt()
        self._failback_now = False
        self._no_failback_until = float("-inf")
        self._settling = False  # a host has answered that would do, and the others are waited for
        self._awake_since = float("-inf")  # when the loop was last found to have stood still
        self.wake_probers: Callable[[], None] = lambda: None
        self.redial_prober: Callable[[int], None] = lambda _: None

    # -- what others ask -----------------------------------------------------------------------

    @property
    def situation(self) -> Situation:
        """What the pace of probing depends on."""
        return Situation(
            searching=self._search_since is not None,
            unsure_since=self._search_since if self._doubt.since is None else self._doubt.began,
            given_up=self._given_up,
        )

    @property
    def serving(self) -> bool:
        """Whether a host is in use."""
        return self.state in SERVING

    def wanted(self, host: Host) -> bool:
        """Return whether a host, as it is known now, would do."""
        return self._fault_of(self.table[host.index]) is None

    def unavailable(self, timeout: float) -> NoHostAvailable | None:
        """Return why callers get nothing, when it is for want of a host."""
        pool = self._desk.pool
        within = f"within {timeout:.2f} s"
        if pool is None or self.current is None:
            return NoHostAvailable(f"no host available {within}", self._hosts())
        state = self.table[self.current]
        if state.status is Status.UP and state.failure is None and pool.connections:
            return None
        if pool.used:
            return None
        why = self._dial_failures.get(self.current)
        because = f" ({why})" if why else ""
        words = f"no connection to {state.host} {within}{because}"
        return NoHostAvailable(words, self._hosts())

    def _hosts(self) -> tuple[HostHealth, ...]:
        return self.table.report(self.current, monotonic())

    def why_empty(self) -> Failure | None:
        """Return why the host in use gives us no connection at all, if that is so."""
        pool = self._desk.pool
        if pool is None or self.current is None or pool.connections:
            return None
        return self._dial_failures.get(self.current)

    def refusal(self) -> NoHostAvailable | None:
        """Return what a caller is to meet at once instead of waiting, if anything."""
        if self._given_up:
            return NoHostAvailable("the manager gave up; call reconnect()", self._hosts())
        if self.state is State.OUTAGE and self._settings.when_down == "fail":
            return NoHostAvailable("no host available", self._hosts())
        return None

    def accepts(self, seen: Observation) -> Failure | None:
        """Return why a connection to a server that answers so is not wanted."""
        fault = self._fault_of(self.table.judge(seen))
        return None if fault is None else Failure(FailureKind.ROLE, fault.value)

    def _fault_of(self, state: HostState) -> Reason | None:
        """Return what makes a server that is up unfit, if anything."""
        if self.table.is_stale(state):
            return Reason.STALE
        if self.table.is_foreign(state):
            return Reason.FOREIGN
        return Reason.ROLE if rank(self._rules.target, state) is None else None

    # -- evidence ------------------------------------------------------------------------------

    def observe(self, seen: Observation) -> None:
        """Take in what a probe or a dial has learnt."""
        known = self.table[seen.host].started
        if seen.dialled and seen.facts and known not in (None, seen.facts.started):
            self.redial_prober(seen.host)  # the address leads to another server by now
        if seen.dialled and seen.facts:
            self._dial_failures.pop(seen.host, None)
        before, after = self.table.apply(seen)
        self._report.observed(self.table, before, after)
        pool = self._desk.pool
        recovered = before.failure is not None and after.status is Status.UP
        if recovered and not seen.dialled and pool is not None and pool.host.index == seen.host:
            pool.hurry()
        if was_replaced(before, after):
            self._cut_off(before.host, "another server has taken over its address")
        self.left_pools.cut(self.table, serving=self.current is not None)
        self._changed.set()
        self.signal.notify()

    def _cut_off(self, host: Host, why: str) -> None:
        """Cut all connections to the server that was at *host*: they lead to it still.

        The dial that has found this out makes its connection one of the pool's only afterwards.
        """
        pools = {*self.left_pools, *([self._desk.pool] if self._desk.pool else [])}
        for pool in pools:
            if pool.host.index == host.index:
                for conn in tuple(pool.connections):
                    conn.abort(host.label, why)
                if pool.left is None:
                    pool.spawn(pool.drain(), "renew")

    def revise(self, hosts: Sequence[Host]) -> Revision:
        """Take another list of hosts; the one in use is left when another qualifies."""
        in_use = {self.current, self.table.last, self._coming}
        in_use |= {pool.host.index for pool in self.left_pools}
        revision = self.table.revise(hosts, in_use)
        for index in [index for index in self._dial_failures if not self.table.is_known(index)]:
            del self._dial_failures[index]
        self._report.hosts_changed(self.table, revision)
        self._changed.set()
        self.signal.notify()
        return revision

    def list_unknown(self, failure: Failure) -> None:
        """Say that the list of hosts could not be had; the one that is known stays."""
        self._report.list_unknown(failure)

    def nudge(self, why: str) -> None:
        """Ask for probes of all hosts now: something happened that casts doubt."""
        if self._doubt.arise(monotonic()):
            extra = fields("ProbingAll", self._settings.name, reason=why)
            logger.debug("probing all hosts: %s", why, extra=extra)
            self.wake_probers()

    def trouble(self, conn: ManagedConnection, error: pg_errors.Error) -> None:
        """Take a hint from a connection that broke, or that met a server which refuses writes."""
        if error.sqlstate == READ_ONLY_SQL_TRANSACTION:
            wants_writes = self._rules.target in (Target.PRIMARY, Target.READ_WRITE)
            if conn.read_only is not True and wants_writes:
                self.nudge("a server refused a write")
        elif conn.abort_reason is None and conn.host_pool is self._desk.pool:
            self.nudge("a connection broke")

    def dial_failed(self, host: Host, failure: Failure) -> None:
        """Take in that a connection for the pool could not be made."""
        self._dial_failures[host.index] = failure
        self._report.dial_failed(self.table[host.index], failure)
        if failure.kind is not FailureKind.SATURATED:
            self.nudge(f"a dial of {host} failed")

    # -- requests ------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to look for a host."""
        self._opened_at = monotonic()
        self._search(State.STARTING)

    def restart(self) -> None:
        """Begin anew after having given up."""
        if self._given_up:
            self._given_up = False
            self._outage_announced = False
            self._search(State.SEARCHING)
            self.wake_probers()

    def failback(self) -> None:
        """Go back to a preferred host that qualifies, without waiting for `failback_after`."""
        self._failback_now = True
        self._changed.set()

    def reconnect_failed(self, seconds: float) -> None:
        """Say that the search has taken longer than `reconnect_timeout`."""
        self._report.tell(ev.ReconnectFailed(seconds=seconds))

    def give_up(self, tries: int, seconds: float) -> None:
        """Stop searching; whoever waits is told."""
        if not self._outage_announced:
            self._announce_outage()
        self._given_up = True
        self.searching.clear()
        self._enter(State.GAVE_UP)
        self._report.tell(ev.GaveUp(tries=tries, seconds=seconds))
        self._fail_waiting()

    def stop(self) -> None:
        """Leave the current host for good."""
        pool = self._desk.pool
        self._desk.serve_from(None)
        self.current = None
        if pool is not None:
            self.left_pools.add(pool, "the manager is closed", abort=False)
        self._enter(State.CLOSED)

    # -- deciding ------------------------------------------------------------------------------

    async def run(self) -> None:
        """Decide whenever something was learnt or falls due; ends only by cancellation."""
        while True:
            self._changed.clear()
            recheck_at: float | None = None
            try:
                recheck_at = await self._step()
            except Exception:  # one bad turn must not end all steering
                extra = fields("InternalError", self._settings.name, task="steering")
                logger.exception("a decision could not be carried out", extra=extra)
                recheck_at = monotonic() + 0.1
            await self._pause(recheck_at)

    async def _pause(self, until: float | None) -> None:
        if until is None:
            await self._changed.wait()
            return
        now = monotonic()
        due = max(now + 0.002, until)
        with anyio.move_on_after(due - now):
            await self._changed.wait()
        if monotonic() - due > LATE:
            self._awake_since = monotonic()

    def _decide(self) -> Decision:
        return decide(
            self.table,
            self._rules,
            self.current,
            self._search_since,
            monotonic(),
            failback_now=self._failback_now,
            awake_since=self._awake_since,
        )

    async def _step(self) -> float | None:
        if self._given_up:
            return None
        decision = self._decide()
        held_off = monotonic() < self._no_failback_until and not self._failback_now
        if decision.reason is Reason.PREFERRED and held_off:
            stay = Decision(Action.STAY, self.current, Reason.FINE, self._no_failback_until)
            return self._stay(stay)
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
        assert self.current is not None
        self._failback_now = False
        state = self.table[self.current]
        if decision.reason is Reason.ONLY_ONE_LEFT and self.state is not State.STALLED:
            self._enter(State.STALLED)
            self._report.tell(ev.Stalled(host=state.host.label))
        elif decision.reason is Reason.FINE and self.state is State.STALLED:
            stalled_for = monotonic() - self.state_since
            self._report.tell(ev.StallEnded(host=state.host.label, seconds=stalled_for))
            self._enter(State.READY)
        if state.silent_since is not None and self._doubt.since is None:
            self.nudge(f"{state.host} missed a health check")
        look_again = self._doubt.settle(self.table, state, self._rules.settle, monotonic())
        return min((at for at in (decision.recheck_at, look_again) if at is not None), default=None)

    def _wait(self, decision: Decision) -> float | None:
        assert self._search_since is not None
        settling = decision.reason is Reason.SETTLING
        if settling and not self._settling:
            self.wake_probers()  # what ended one host's silence may have ended the others'
        self._settling = settling
        if decision.reason is Reason.NONE and not self._outage_announced:
            due = self._search_since + self._grace()
            if monotonic() < due:
                return due
            self._announce_outage()
        return decision.recheck_at

    def _grace(self) -> float:
        """Return the seconds of a search before it is worth the word.

        At the start nothing is wrong while first answers may still be on their way.
        """
        starting = self.state is State.STARTING
        if starting and any(state.asked_at == float("-inf") for state in self.table):
            return max(self._settings.settle, self._settings.health_timeout)
        return self._settings.settle

    def _announce_outage(self) -> None:
        self._outage_announced = True
        if self._outage_since is None:
            self._outage_since = self._search_since
        self._enter(State.OUTAGE)
        self._report.outage_started(self._hosts())
        if self._settings.when_down == "fail":
            self._fail_waiting()

    def _fail_waiting(self) -> None:
        self._desk.waiting.fail_all(lambda: self.refusal() or NoHostAvailable("no host available"))

    def _search(self, state: State) -> None:
        self._search_since = monotonic()
        self._settling = False
        self._doubt.drop()
        self._enter(state)
        self.found.clear()
        self.searching.set()
        self._changed.set()

    def _leave(self, decision: Decision) -> None:
        assert self.current is not None
        pool = self._desk.pool
        host = self.table[self.current].host
        state = self.table[self.current]
        detail = f" ({state.failure})" if state.failure else ""
        why = f"the host was left: {decision.reason.value}{detail}"
        self._report.leaving(host, decision.reason.value + detail)
        self._tell_left(host)
        self._left = (host, decision.reason)
        self._trouble_since = self._first_sign(host)
        self.current = None
        self._outage_announced = False
        self._desk.serve_from(None)
        if pool is not None:
            self.left_pools.add(pool, why, abort=decision.abort)
        self._search(State.SEARCHING)
        self.wake_probers()

    async def _switch(self, decision: Decision) -> None:
        assert decision.host is not None
        host = self.table[decision.host].host
        if self.current is not None and decision.reason is not Reason.PREFERRED:
            self._tell_left(self.table[self.current].host)
        pool = self._make_pool(host)
        self._coming = host.index  # the list may change while its pool is filled
        try:
            await pool.open()
            if decision.reason is Reason.PREFERRED and not await self._warm(pool, decision):
                return
        except BaseException:
            self.left_pools.add(pool, "it was not needed after all", abort=True)
            raise
        finally:
            self._coming = None
        old, before = self._desk.pool, self.current
        self.current = host.index
        self.table.adopt(host.index)
        self._report.watch_foreign(self.table)
        self._desk.serve_from(pool)
        if old is not None:
            why = f"the host was left for {host}: {decision.reason.value}"
            self.left_pools.add(old, why, abort=decision.abort)
        self._announce_switch(host, None if before is None else self.table[before].host, decision)
        self._search_since = None
        self._left = None
        self._outage_announced = False
        self.searching.clear()
        self.found.set()
        self.wake_probers()  # those that were left to the reconnect coroutine
        self._enter(State.READY)

    async def _warm(self, pool: HostPool, decision: Decision) -> bool:
        """Fill a preferred host's pool before anyone is moved; return whether it may serve."""
        limit = monotonic() + WARM_LIMIT
        wanted = pool.inner.min_size
        while len(pool.connections) < wanted and monotonic() < limit:
            self._changed.clear()
            await self._pause(monotonic() + 0.02)
            if self._decide() != decision:
                break
        if len(pool.connections) >= wanted and self._decide().host == decision.host:
            return True
        self.left_pools.add(pool, "it could not take over", abort=True)
        self._no_failback_until = monotonic() + max(WARM_LIMIT, self._settings.failback_after)
        return False

    def _first_sign(self, host: Host) -> float:
        """Return the first sign of trouble with a host, or else its last answer."""
        state = self.table[host.index]
        doubted = None if self._doubt.since is None else self._doubt.arose
        signs = [at for at in (state.silent_since, doubted) if at is not None]
        return min(signs, default=state.asked_at)

    def _tell_left(self, host: Host) -> None:
        noticed = monotonic() - self._first_sign(host)
        for instrument in self._instruments:
            instrument.left(host.label, noticed)

    def _announce_switch(self, host: Host, before: Host | None, decision: Decision) -> None:
        now = monotonic()
        if decision.reason is Reason.PREFERRED and before is not None:
            self._report.tell(ev.Failback(before=before.label, after=host.label))
            return
        began = self._trouble_since if before is None else self._first_sign(before)
        seconds = 0.0 if began is None else now - began
        left = (before, decision.reason) if before is not None else self._left
        if left is None:
            self._report.tell(ev.Connected(host=host.label, seconds=now - self._opened_at))
        elif left[0] != host:
            self._report.tell(
                ev.Failover(
                    before=left[0].label, after=host.label, reason=left[1].value, seconds=seconds
                )
            )
        if self._outage_since is not None:
            lasted = now - self._outage_since
            self._report.tell(ev.OutageEnded(host=host.label, seconds=lasted))
            self._outage_since = None

    def _enter(self, state: State) -> None:
        if state is not self.state:
            self.state = state
            self.state_since = monotonic()
            for instrument in self._instruments:
                instrument.entered(state.value)
            self.signal.notify()
