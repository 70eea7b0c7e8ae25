"""`decide()`: the cases that docs/decisions.md shows, and what holds for any evidence."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decision_cases import (
    CASES,
    LEAVE,
    NOW,
    OTHER_SYSTEM,
    STAY,
    SWITCH,
    SYSTEM,
    WAIT,
    Case,
    Then,
    observation,
    table_of,
)
from pgmoor._core.hosts.decision import Decision, decide
from pgmoor._core.hosts.failures import FailureKind
from pgmoor._core.hosts.host import HostState, Observation, ServerInfo
from pgmoor._core.hosts.rules import FailoverRules, Target
from pgmoor.health import Role, Status
from render_decisions import PAGE, render, shown_on

if TYPE_CHECKING:
    from pgmoor._core.hosts.table import HostTable
from pgmoor._core.hosts.timelines import ABANDONED_AFTER


@pytest.mark.parametrize("case", CASES, ids=[f"{case.topic}: {case.name}" for case in CASES])
def test_each_case_is_decided_as_the_page_says(case: Case) -> None:
    decision = case.decide()

    recheck = None if decision.recheck_at is None else decision.recheck_at - NOW
    got = Then(decision.action, decision.host, decision.reason, decision.abort)
    assert got == replace(case.then, recheck=None)
    assert recheck == pytest.approx(case.then.recheck)


def test_the_page_shows_all_cases_and_each_once() -> None:
    assert shown_on(PAGE.read_text()) == render(CASES), "run tests/render_decisions.py --write"
    assert len({(case.topic, case.name, str(case.settings)) for case in CASES}) == len(CASES)


# -- what always holds --------------------------------------------------------------------------

TIMELINES = st.sampled_from([1, 2, 3])
primaries = st.builds(
    ServerInfo,
    in_recovery=st.just(False),
    writable=st.booleans(),
    timeline=TIMELINES,
    system_id=st.sampled_from([SYSTEM, SYSTEM, SYSTEM, OTHER_SYSTEM]),
)
standbys = st.builds(
    ServerInfo,
    in_recovery=st.just(True),
    writable=st.just(False),
    timeline=TIMELINES,
    system_id=st.just(SYSTEM),
    lag=st.none() | st.floats(0, 100),
)
plain = st.builds(ServerInfo, writable=st.sampled_from([True, True, False, None]))
any_info = st.builds(
    ServerInfo,
    in_recovery=st.none() | st.booleans(),
    writable=st.none() | st.booleans(),
    timeline=st.none() | TIMELINES,
    system_id=st.sampled_from([None, SYSTEM, OTHER_SYSTEM]),
)
infos = primaries | primaries | standbys | plain | any_info
failures = st.just(FailureKind.TIMEOUT) | st.sampled_from(FailureKind)
outcomes = infos | infos | failures
# Tenths of a second before now, most of them recent, so that instants often coincide.
instants = (st.integers(0, 15) | st.integers(0, 200)).map(lambda tenths: NOW - tenths / 10)


@dataclass(frozen=True)
class World:
    """All arguments of `decide()`, and all observations in the order of their arrival."""

    table: HostTable
    seen: list[Observation]
    rules: FailoverRules
    current: int | None
    since: float | None
    failback_now: bool

    def decide(self, now: float = NOW) -> Decision:
        return decide(
            self.table,
            self.rules,
            self.current,
            self.since,
            now,
            failback_now=self.failback_now,
        )

    def after(self, decision: Decision) -> World:
        """Return the world after the decision was carried out, at the same instant."""
        if decision.action is SWITCH:
            assert decision.host is not None
            self.table.adopt(decision.host)
            return replace(self, current=decision.host, since=None, failback_now=False)
        if decision.action is LEAVE:
            return replace(self, current=None, since=NOW, failback_now=False)
        return self

    def newest_timeline(self, system_id: int | None) -> int:
        """Return the newest timeline of a cluster that was seen and that somebody may be on."""
        seen: dict[int, dict[int, float]] = {}  # when each host was last seen on each timeline
        for item in sorted(self.seen, key=lambda item: item.asked_at):
            if item.info and item.info.timeline and item.info.system_id == system_id:
                seen.setdefault(item.info.timeline, {})[item.host] = item.asked_at
        return max((each for each, on in seen.items() if not self._set_back(each, on)), default=0)

    def _set_back(self, timeline: int, seen: dict[int, float]) -> bool:
        """Return whether each host that was on a timeline is primary on an older one by now."""
        return all(
            state.status is Status.UP
            and state.role is Role.PRIMARY
            and state.timeline is not None
            and state.timeline < timeline
            and state.answered_at > at + ABANDONED_AFTER
            for state, at in ((self.table[host], at) for host, at in seen.items())
        )


@st.composite
def worlds(draw: st.DrawFn, *, in_use: bool | None = None) -> World:
    count = draw(st.integers(1, 4))
    table = table_of(count)
    table.system_id = draw(st.sampled_from([None, SYSTEM, SYSTEM, OTHER_SYSTEM]))
    steps = st.tuples(st.integers(0, count - 1), instants, outcomes)
    most = draw(st.lists(steps, max_size=8))
    # Most hosts have answered or failed at least once.
    once = [(host, draw(instants), draw(outcomes)) for host in range(count) if draw(st.booleans())]
    seen = [observation(*step) for step in [*most, *once]]
    if draw(st.sampled_from([True, True, False])):
        seen.sort(key=lambda item: item.asked_at)
    for item in seen:
        table.apply(item)
    if in_use is None:
        in_use = draw(st.booleans())
    return World(
        table,
        seen,
        FailoverRules(
            target=draw(st.sampled_from(Target)),
            failback=draw(st.sampled_from(["auto", "manual"])),
            failback_after=draw(st.sampled_from([0.0, 1.0, 30.0])),
            settle=draw(st.sampled_from([0.0, 0.2, 5.0])),
            stall_timeout=draw(st.sampled_from([0.1, 5.0, 15.0])),
            expiry=draw(st.sampled_from([0.5, 6.0, 60.0])),
        ),
        current=draw(st.integers(0, count - 1)) if in_use else None,
        since=None if in_use else draw(st.none() | instants),
        failback_now=draw(st.booleans()),
    )


def satisfies(target: Target, state: HostState) -> bool:
    is_standby = state.role is Role.STANDBY
    if target in (Target.ANY, Target.PREFER_STANDBY):
        return True
    if target is Target.STANDBY:
        return is_standby
    if target is Target.READ_ONLY:
        return is_standby or state.writable is False
    return not is_standby and state.writable is not False


def qualifies(world: World, state: HostState, *, since: float = float("-inf")) -> bool:
    """Return whether the manager may switch to a host: its newest answer is recent and fits."""
    return (
        state.status is Status.UP
        and state.misses == 0
        and state.asked_at >= max(since, NOW - world.rules.expiry)
        and satisfies(world.rules.target, state)
        and not world.table.is_stale(state)
        and not world.table.is_foreign(state)
    )


@given(worlds(), st.floats(allow_nan=False, allow_infinity=False))
def test_any_evidence_at_any_time_leads_to_a_decision(world: World, now: float) -> None:
    decision = world.decide(now)

    in_use = world.current is not None
    assert decision.action in ((STAY, SWITCH, LEAVE) if in_use else (SWITCH, WAIT))
    assert (decision.host is None) == (decision.action is WAIT)


@given(worlds())
def test_the_same_evidence_gives_the_same_decision_and_a_recheck_lies_ahead(world: World) -> None:
    decision = world.decide()

    assert decision == world.decide()
    assert decision.recheck_at is None or decision.recheck_at > NOW


@given(worlds())
def test_no_primary_is_chosen_or_kept_once_a_newer_timeline_was_seen(world: World) -> None:
    decision = world.decide()

    if decision.action in (SWITCH, STAY):
        assert decision.host is not None
        state = world.table[decision.host]
        if state.role is Role.PRIMARY and state.timeline is not None:
            assert state.timeline >= world.newest_timeline(state.system_id)


@given(worlds())
def test_a_host_that_is_switched_to_has_answered_recently_and_fits(world: World) -> None:
    decision = world.decide()

    if decision.action is SWITCH:
        assert decision.host is not None
        assert decision.host != world.current
        assert qualifies(world, world.table[decision.host])


@given(worlds(in_use=True))
def test_an_unknown_or_silent_host_without_alternative_is_not_left(world: World) -> None:
    decision = world.decide()

    assert world.current is not None
    state = world.table[world.current]
    silent_for = NOW - state.silent_since if state.silent_since is not None else 0.0
    patient = state.status is Status.UNKNOWN or (
        state.status is Status.SILENT
        and silent_for < world.rules.stall_timeout
        and not any(
            qualifies(world, other, since=state.silent_since or 0.0)
            for other in world.table
            if other is not state
        )
    )
    fenced = world.table.is_stale(state) or world.table.is_foreign(state)
    if patient and not fenced:
        assert decision.action is STAY


@given(worlds())
def test_decisions_at_one_instant_come_to_an_end_and_return_to_no_host(world: World) -> None:
    visited = [] if world.current is None else [world.current]

    while (decision := world.decide()).action not in (STAY, WAIT):
        if decision.action is SWITCH:
            assert decision.host is not None
            assert decision.host not in visited
            visited.append(decision.host)
        world = world.after(decision)


@given(worlds(in_use=False))
def test_a_search_ends_when_a_host_that_fits_has_answered_and_settle_is_over(
    world: World,
) -> None:
    since = NOW - world.rules.settle
    world = replace(world, since=since)

    decision = world.decide()

    if any(
        qualifies(world, state, since=since)
        and not state.failure
        and state.steady_since is not None
        and state.steady_since <= since
        for state in world.table
    ):
        assert decision.action is SWITCH
