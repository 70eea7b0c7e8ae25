"""`HostTable`: what each observation does to what is known of a host."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pgmoor._core.hosts.host import Host, HostState, Observation, ServerInfo, was_replaced

from pgmoor._core.hosts.failures import Failure, FailureKind
from pgmoor._core.hosts.table import HostTable
from pgmoor.health import Role, Status

SYSTEM = 7
PRIMARY = ServerInfo(in_recovery=False, writable=True, timeline=1, system_id=SYSTEM)
STANDBY = ServerInfo(in_recovery=True, writable=False, timeline=1, system_id=SYSTEM, lag=0.5)


def table_of(count: int = 1) -> HostTable:
    return HostTable([Host(index, f"db{index + 1}", 5432) for index in range(count)])


def told(asked_at: float, facts: ServerInfo, *, host: int = 0) -> Observation:
    return Observation(host, asked_at, asked_at + 0.01, info=facts)


def failed(asked_at: float, kind: FailureKind, *, host: int = 0) -> Observation:
    return Observation(host, asked_at, asked_at + 0.01, failure=Failure(kind, kind.value))


def after(*seen: Observation) -> HostState:
    """Return the state of the first host after some observations."""
    table = table_of()
    for item in seen:
        table.apply(item)
    return table[0]


# -- names --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "label"),
    [
        (Host(0, "db1", 5432), "db1:5432"),
        (Host(0, "::1", 5433), "[::1]:5433"),
        (Host(0, "/run/postgresql", 5432), "/run/postgresql:5432"),
        (Host(0, "", 5432), "local socket:5432"),
        (Host(0, "", 5432, hostaddr="10.0.0.1"), "10.0.0.1:5432"),
        (Host(0, "db1", 5432, hostaddr="10.0.0.1"), "db1:5432"),
    ],
)
def test_a_host_is_named_as_a_person_would_write_it(host: Host, label: str) -> None:
    assert str(host) == label


# -- answers ------------------------------------------------------------------------------------


def test_nothing_is_known_of_a_host_that_was_not_asked() -> None:
    state = table_of()[0]

    assert (state.status, state.role) == (Status.UNKNOWN, Role.UNKNOWN)


def test_an_answer_says_all_that_is_known() -> None:
    state = after(told(10, STANDBY))

    assert (state.status, state.role, state.writable) == (Status.UP, Role.STANDBY, False)
    assert (state.timeline, state.system_id, state.lag) == (1, SYSTEM, 0.5)
    assert state.latency == pytest.approx(0.01)
    assert (state.asked_at, state.since, state.steady_since) == (10, 10.01, 10.01)


def test_a_server_that_cannot_say_what_it_is_has_no_role() -> None:
    state = after(told(10, ServerInfo(writable=True)))

    assert (state.status, state.role, state.writable) == (Status.UP, Role.UNKNOWN, True)


def test_a_host_is_steady_since_it_first_answered_the_same() -> None:
    state = after(told(10, PRIMARY), told(11, PRIMARY), told(12, replace(PRIMARY, lag=3.0)))

    assert (state.since, state.steady_since) == (10.01, 10.01)


@pytest.mark.parametrize(
    "change",
    [
        STANDBY,
        replace(PRIMARY, writable=False),
        replace(PRIMARY, timeline=2),
        replace(PRIMARY, started="later"),
    ],
    ids=["role", "writable", "timeline", "a restart"],
)
def test_an_answer_that_differs_makes_it_steady_anew(change: ServerInfo) -> None:
    state = after(told(10, PRIMARY), told(11, change))

    assert (state.since, state.steady_since) == (10.01, 11.01)


def test_one_missed_answer_makes_it_steady_anew() -> None:
    state = after(told(10, PRIMARY), failed(11, FailureKind.TIMEOUT), told(12, PRIMARY))

    assert (state.since, state.steady_since) == (10.01, 12.01)


def test_an_answer_clears_what_went_before() -> None:
    timeouts = [failed(at, FailureKind.TIMEOUT) for at in (11, 12, 13)]
    state = after(told(10, PRIMARY), *timeouts, told(14, PRIMARY))

    assert (state.status, state.misses, state.silent_since) == (Status.UP, 0, None)
    assert (state.failure, state.since) == (None, 14.01)


# -- failures -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        (FailureKind.REFUSED, Status.DOWN),
        (FailureKind.RESET, Status.DOWN),
        (FailureKind.NAME, Status.DOWN),
        (FailureKind.PROTOCOL, Status.DOWN),
        (FailureKind.STARTING, Status.STARTING),
        (FailureKind.CREDENTIALS, Status.REJECTED),
        (FailureKind.CONFIGURATION, Status.REJECTED),
        (FailureKind.SATURATED, Status.UP),
        (FailureKind.RESOURCES, Status.UP),
        (FailureKind.ROLE, Status.UP),
        (FailureKind.TIMEOUT, Status.UP),
        (FailureKind.OTHER, Status.UP),
    ],
)
def test_what_one_failure_makes_of_a_host_that_was_up(kind: FailureKind, status: Status) -> None:
    state = after(told(10, PRIMARY), failed(11, kind))

    assert state.status is status
    assert state.failure == Failure(kind, kind.value)
    assert (state.role, state.timeline) == (Role.PRIMARY, 1)  # what it was is still known


@pytest.mark.parametrize("kind", [FailureKind.TIMEOUT, FailureKind.OTHER])
def test_two_unanswered_questions_in_a_row_are_silence(kind: FailureKind) -> None:
    state = after(told(10, PRIMARY), failed(11, kind), failed(12, kind))

    assert (state.status, state.misses) == (Status.SILENT, 2)
    assert (state.silent_since, state.since) == (11, 12.01)


def test_two_unanswered_questions_with_an_answer_between_are_not() -> None:
    miss = FailureKind.TIMEOUT
    state = after(told(10, PRIMARY), failed(11, miss), told(12, PRIMARY), failed(13, miss))

    assert (state.status, state.misses, state.silent_since) == (Status.UP, 1, 13)


def test_a_silent_host_that_refuses_is_down() -> None:
    timeouts = [failed(at, FailureKind.TIMEOUT) for at in (10, 11)]
    state = after(*timeouts, failed(12, FailureKind.REFUSED))

    assert (state.status, state.misses, state.silent_since) == (Status.DOWN, 0, None)


def test_a_host_that_has_no_room_stays_as_steady_as_it_was() -> None:
    state = after(told(10, PRIMARY), failed(11, FailureKind.SATURATED))

    assert (state.steady_since, state.asked_at) == (10.01, 11)


def test_an_observation_without_facts_or_failure_counts_as_unanswered() -> None:
    state = after(Observation(0, 10, 11), Observation(0, 11, 12))

    assert state.status is Status.SILENT


# -- order of arrival ---------------------------------------------------------------------------


def test_an_observation_asked_earlier_than_the_newest_changes_nothing() -> None:
    table = table_of()
    table.apply(told(11, PRIMARY))

    before, state = table.apply(failed(10, FailureKind.REFUSED))

    assert before is state is table[0]
    assert state.status is Status.UP


def test_a_late_answer_still_tells_of_a_newer_timeline() -> None:
    table = table_of()
    table.apply(failed(11, FailureKind.REFUSED))

    table.apply(told(10, replace(PRIMARY, timeline=3)))

    assert table[0].status is Status.DOWN
    assert table.newest_timeline(SYSTEM) == 3


def test_apply_returns_the_state_before_and_after() -> None:
    table = table_of()

    before, state = table.apply(told(10, PRIMARY))

    assert (before.status, state.status) == (Status.UNKNOWN, Status.UP)


# -- timelines and clusters ---------------------------------------------------------------------


def test_a_primary_on_an_older_timeline_is_stale() -> None:
    table = table_of(2)
    table.apply(told(10, PRIMARY, host=0))
    table.apply(told(10, replace(PRIMARY, timeline=2), host=1))

    assert [table.is_stale(state) for state in table] == [True, False]


def test_a_standby_on_an_older_timeline_is_not() -> None:
    table = table_of(2)
    table.apply(told(10, STANDBY, host=0))
    table.apply(told(10, replace(PRIMARY, timeline=2), host=1))

    assert not table.is_stale(table[0])


def test_a_timeline_is_not_forgotten_when_its_primary_is_gone() -> None:
    table = table_of(2)
    table.apply(told(10, replace(PRIMARY, timeline=2), host=1))
    table.apply(failed(11, FailureKind.REFUSED, host=1))

    table.apply(told(12, PRIMARY, host=0))

    assert table.is_stale(table[0])


def test_a_primary_older_than_a_standby_is_stale() -> None:
    table = table_of(2)
    table.apply(told(10, PRIMARY, host=0))
    table.apply(told(10, replace(STANDBY, timeline=2), host=1))

    assert [table.is_stale(state) for state in table] == [True, False]


def test_what_a_host_said_is_as_old_as_its_last_answer() -> None:
    state = after(told(10, PRIMARY), failed(11, FailureKind.TIMEOUT))

    assert (state.asked_at, state.answered_at) == (11, 10)


@pytest.mark.parametrize(
    ("then", "replaced"),
    [
        pytest.param(replace(PRIMARY, timeline=2), True, id="a newer timeline"),
        pytest.param(replace(PRIMARY, system_id=8), True, id="another cluster"),
        pytest.param(PRIMARY, False, id="the same"),
        pytest.param(replace(PRIMARY, started="later"), False, id="a restart"),
        pytest.param(replace(PRIMARY, writable=False), False, id="a demotion"),
        pytest.param(STANDBY, False, id="a standby, which it has become"),
        pytest.param(replace(PRIMARY, timeline=2, pooled=True), False, id="behind a pooler"),
        pytest.param(FailureKind.REFUSED, False, id="a failure"),
    ],
)
def test_a_primary_that_has_another_timeline_is_another_server(
    then: ServerInfo | FailureKind, replaced: bool
) -> None:
    table = table_of()
    table.apply(told(10, PRIMARY))

    assert was_replaced(*table.apply(seen(0, 11, then))) is replaced


def test_a_standby_that_is_promoted_is_the_same_server() -> None:
    table = table_of()
    table.apply(told(10, STANDBY))

    assert not was_replaced(*table.apply(told(11, replace(PRIMARY, timeline=2))))


def test_timelines_of_another_cluster_do_not_fence() -> None:
    table = table_of(2)
    table.apply(told(10, PRIMARY, host=0))
    table.apply(told(10, replace(PRIMARY, timeline=9, system_id=8), host=1))

    assert not table.is_stale(table[0])


def test_a_host_of_another_cluster_than_the_one_in_use_is_foreign() -> None:
    table = table_of(3)
    table.apply(told(10, PRIMARY, host=0))
    table.apply(told(10, replace(PRIMARY, system_id=8), host=1))
    before = [table.is_foreign(state) for state in table]

    table.adopt(0)

    assert before == [False, False, False]
    assert [table.is_foreign(state) for state in table] == [False, True, False]


def test_a_cluster_that_was_rebuilt_as_a_whole_is_not_foreign() -> None:
    table = table_of(2)
    for host in (0, 1):
        table.apply(told(10, PRIMARY, host=host))
    table.adopt(0)
    rebuilt = replace(PRIMARY, system_id=8)

    table.apply(told(11, rebuilt, host=0))
    halfway = [table.is_foreign(state) for state in table]
    table.apply(told(12, rebuilt, host=1))

    assert halfway == [True, False]
    assert not any(table.is_foreign(state) for state in table)


def test_adopting_a_host_that_does_not_name_its_cluster_changes_nothing() -> None:
    table = table_of(2)
    table.apply(told(10, PRIMARY, host=0))
    table.adopt(0)

    table.apply(told(10, ServerInfo(writable=True), host=1))
    table.adopt(1)

    assert table.system_id == SYSTEM


# -- what always holds --------------------------------------------------------------------------

any_facts = st.builds(
    ServerInfo,
    in_recovery=st.none() | st.booleans(),
    writable=st.none() | st.booleans(),
    timeline=st.none() | st.integers(1, 4),
    system_id=st.sampled_from([None, 7, 8]),
)
outcomes = any_facts | any_facts | st.sampled_from(FailureKind)
histories = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 20), outcomes), max_size=20)
many = settings(max_examples=200, deadline=None)


def seen(host: int, asked_at: float, outcome: ServerInfo | FailureKind) -> Observation:
    if isinstance(outcome, ServerInfo):
        return told(asked_at, outcome, host=host)
    return failed(asked_at, outcome, host=host)


@many
@given(histories)
def test_older_observations_never_overwrite_newer_ones(
    history: list[tuple[int, int, ServerInfo | FailureKind]],
) -> None:
    table = table_of(4)
    for step in history:
        item = seen(*step)
        before, state = table.apply(item)

        assert state.asked_at == max(before.asked_at, item.asked_at)
        if item.asked_at < before.asked_at:
            assert state == before


@many
@given(histories)
def test_the_newest_timeline_only_grows(
    history: list[tuple[int, int, ServerInfo | FailureKind]],
) -> None:
    table = table_of(4)
    for step in history:
        newest = [table.newest_timeline(system) for system in (None, 7, 8)]

        table.apply(seen(*step))

        now = [table.newest_timeline(system) for system in (None, 7, 8)]
        assert all(later >= earlier for later, earlier in zip(now, newest, strict=True))


@many
@given(histories)
def test_an_observation_changes_one_host_only(
    history: list[tuple[int, int, ServerInfo | FailureKind]],
) -> None:
    table = table_of(4)
    for step in history:
        others = [state for state in table if state.host.index != step[0]]

        table.apply(seen(*step))

        assert [state for state in table if state.host.index != step[0]] == others


@many
@given(histories)
def test_a_state_does_not_contradict_itself(
    history: list[tuple[int, int, ServerInfo | FailureKind]],
) -> None:
    table = table_of(4)
    for step in history:
        _, state = table.apply(seen(*step))

        assert (state.misses > 0) == (state.silent_since is not None)
        assert state.status is not Status.SILENT or state.misses >= 2
        if state.steady_since is not None:
            assert state.status is Status.UP
