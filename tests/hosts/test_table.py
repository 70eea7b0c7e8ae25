"""`HostTable` and `HostState`: what each observation and each new list changes."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgmoor._core.hosts.failures import Failure, FailureKind
from pgmoor._core.hosts.host import Host, HostState, Observation, ServerInfo, was_replaced
from pgmoor._core.hosts.table import REBUILT_AFTER, HostTable
from pgmoor._core.hosts.timelines import ABANDONED_AFTER
from pgmoor.health import HostHealth, Role, Status

SYSTEM = 7
PRIMARY = ServerInfo(in_recovery=False, writable=True, timeline=1, system_id=SYSTEM)
STANDBY = ServerInfo(in_recovery=True, writable=False, timeline=1, system_id=SYSTEM, lag=0.5)
MISSED = FailureKind.TIMEOUT

Outcome = ServerInfo | FailureKind


def hosts(*names: str) -> list[Host]:
    return [Host(index, name, 5432) for index, name in enumerate(names)]


def table_of(*outcomes: Outcome) -> HostTable:
    """Return a table of hosts, of which each has answered or failed at 10 s."""
    table = HostTable(hosts(*(f"db{number}" for number, _ in enumerate(outcomes, start=1))))
    for host, outcome in enumerate(outcomes):
        table.apply(seen(host, 10, outcome))
    return table


def seen(host: int, asked_at: float, outcome: Outcome) -> Observation:
    if isinstance(outcome, ServerInfo):
        return Observation(host, asked_at, asked_at + 0.01, info=outcome)
    failure = Failure(outcome, outcome.value)
    return Observation(host, asked_at, asked_at + 0.01, failure=failure)


def after(*outcomes: Outcome) -> HostState:
    """Return the state of a host after outcomes at 10 s, 11 s and so on."""
    table = HostTable(hosts("db1"))
    for asked_at, outcome in enumerate(outcomes, start=10):
        table.apply(seen(0, asked_at, outcome))
    return table[0]


def test_a_host_is_named_as_a_person_would_write_it() -> None:
    labels = {
        Host(0, "db1", 5432): "db1:5432",
        Host(0, "::1", 5433): "[::1]:5433",
        Host(0, "/run/postgresql", 5432): "/run/postgresql:5432",
        Host(0, "", 5432): "local socket:5432",
        Host(0, "", 5432, hostaddr="10.0.0.1"): "10.0.0.1:5432",
        Host(0, "db1", 5432, hostaddr="10.0.0.1"): "db1:5432",
    }

    assert {host: str(host) for host in labels} == labels


# -- answers ------------------------------------------------------------------------------------


def test_nothing_is_known_of_a_host_that_was_never_probed() -> None:
    state = HostTable(hosts("db1"))[0]

    assert (state.status, state.role) == (Status.UNKNOWN, Role.UNKNOWN)


def test_an_answer_sets_everything() -> None:
    state = after(STANDBY)

    assert (state.status, state.role, state.writable) == (Status.UP, Role.STANDBY, False)
    assert (state.timeline, state.system_id, state.lag) == (1, SYSTEM, 0.5)
    assert state.latency == pytest.approx(0.01)
    assert (state.asked_at, state.since, state.steady_since) == (10, 10.01, 10.01)


def test_a_server_that_can_t_tell_its_role_has_none() -> None:
    state = after(ServerInfo(writable=True))

    assert (state.status, state.role, state.writable) == (Status.UP, Role.UNKNOWN, True)


def test_a_host_is_steady_from_the_first_of_the_same_answers_in_a_row() -> None:
    steady_since = {
        "the same": after(PRIMARY, PRIMARY, replace(PRIMARY, lag=3.0)),
        "another role": after(PRIMARY, STANDBY),
        "read-only": after(PRIMARY, replace(PRIMARY, writable=False)),
        "another timeline": after(PRIMARY, replace(PRIMARY, timeline=2)),
        "a restart": after(PRIMARY, replace(PRIMARY, started=2)),
        "a missed probe": after(PRIMARY, MISSED, PRIMARY),
        "no free slot": after(PRIMARY, FailureKind.SATURATED),
    }

    assert {name: state.steady_since for name, state in steady_since.items()} == {
        "the same": 10.01,
        "another role": 11.01,
        "read-only": 11.01,
        "another timeline": 11.01,
        "a restart": 11.01,
        "a missed probe": 12.01,
        "no free slot": 10.01,
    }
    assert all(state.since == 10.01 for state in steady_since.values())


def test_an_answer_clears_the_failures_before_it() -> None:
    state = after(PRIMARY, MISSED, MISSED, MISSED, PRIMARY)

    assert (state.status, state.misses, state.silent_since) == (Status.UP, 0, None)
    assert (state.failure, state.since) == (None, 14.01)


# -- failures -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", FailureKind)
def test_what_one_failure_makes_of_a_host_that_was_up(kind: FailureKind) -> None:
    state = after(PRIMARY, kind)

    assert state.status is {
        FailureKind.REFUSED: Status.DOWN,
        FailureKind.RESET: Status.DOWN,
        FailureKind.NAME: Status.DOWN,
        FailureKind.PROTOCOL: Status.DOWN,
        FailureKind.SOURCE: Status.DOWN,
        FailureKind.STARTING: Status.STARTING,
        FailureKind.CREDENTIALS: Status.REJECTED,
        FailureKind.CONFIGURATION: Status.REJECTED,
    }.get(kind, Status.UP)
    assert state.failure == Failure(kind, kind.value)
    assert (state.role, state.timeline) == (Role.PRIMARY, 1)  # its last answer is still known
    assert (state.asked_at, state.answered_at) == (11, 10)


@pytest.mark.parametrize("kind", [FailureKind.TIMEOUT, FailureKind.OTHER])
def test_two_missed_probes_in_a_row_are_silence(kind: FailureKind) -> None:
    silent, interrupted = after(PRIMARY, kind, kind), after(PRIMARY, kind, PRIMARY, kind)

    assert (silent.status, silent.misses) == (Status.SILENT, 2)
    assert (silent.silent_since, silent.since) == (11, 12.01)
    assert (interrupted.status, interrupted.misses) == (Status.UP, 1)
    assert interrupted.silent_since == 13


@pytest.mark.parametrize(
    "kind",
    [
        FailureKind.SATURATED,
        FailureKind.RESOURCES,
        FailureKind.UNWILLING,
        FailureKind.STATEMENT,
    ],
)
def test_an_error_that_a_host_sends_ends_its_silence(kind: FailureKind) -> None:
    between, afterwards = after(PRIMARY, MISSED, kind, MISSED), after(PRIMARY, MISSED, MISSED, kind)

    assert (between.status, between.misses) == (Status.UP, 1)
    assert (afterwards.status, afterwards.misses, afterwards.silent_since) == (Status.UP, 0, None)


def test_a_host_that_never_answered_but_with_an_error_is_rejected() -> None:
    assert after(FailureKind.UNWILLING).status is Status.REJECTED
    assert after(MISSED, MISSED, FailureKind.UNWILLING).status is Status.REJECTED


def test_a_silent_host_that_refuses_connections_is_down() -> None:
    state = after(MISSED, MISSED, FailureKind.REFUSED)

    assert (state.status, state.misses, state.silent_since) == (Status.DOWN, 0, None)


def test_an_observation_with_neither_answer_nor_failure_is_a_missed_probe() -> None:
    table = HostTable(hosts("db1"))
    for asked_at in (10, 11):
        table.apply(Observation(0, asked_at, asked_at + 1))

    assert table[0].status is Status.SILENT


# -- order of arrival ---------------------------------------------------------------------------


def test_apply_returns_the_state_before_and_after() -> None:
    before, state = HostTable(hosts("db1")).apply(seen(0, 10, PRIMARY))

    assert (before.status, state.status) == (Status.UNKNOWN, Status.UP)


def test_a_late_answer_changes_nothing_but_the_newest_timeline() -> None:
    table = HostTable(hosts("db1"))
    table.apply(seen(0, 11, FailureKind.REFUSED))

    before, state = table.apply(seen(0, 10, replace(PRIMARY, timeline=3)))

    assert before is state is table[0]
    assert state.status is Status.DOWN
    assert table.newest_timeline(SYSTEM) == 3


def test_a_preview_changes_nothing() -> None:
    table = table_of(FailureKind.REFUSED)
    before = table[0]

    assert table.preview(seen(0, 11, PRIMARY)).status is Status.UP
    assert table[0] is before


# -- timelines and clusters ---------------------------------------------------------------------


def test_a_primary_is_stale_when_any_server_of_its_cluster_is_on_a_newer_timeline() -> None:
    newer = replace(PRIMARY, timeline=2)
    by_a_primary, by_a_standby = (
        table_of(PRIMARY, newer),
        table_of(PRIMARY, replace(newer, in_recovery=True)),
    )
    of_another_cluster = table_of(PRIMARY, replace(newer, system_id=8))
    a_standby = table_of(STANDBY, newer)

    for table, stale in (
        (by_a_primary, [True, False]),
        (by_a_standby, [True, False]),
        (of_another_cluster, [False, False]),
        (a_standby, [False, False]),
    ):
        assert [table.is_stale(state) for state in table] == stale


def test_a_server_that_hides_its_timeline_is_on_the_last_one_known_unless_it_was_promoted() -> None:
    standby, primary = (replace(info, started=50) for info in (STANDBY, PRIMARY))

    def hidden(info: ServerInfo) -> ServerInfo:
        return replace(info, timeline=None, system_id=None)

    for outcomes, timeline in (
        ((primary, hidden(primary)), 1),
        ((standby, hidden(standby)), 1),
        ((standby, hidden(primary)), 2),
        ((standby, hidden(primary), hidden(primary)), 2),
        # Started again since then: it may be another server at this address.
        ((standby, replace(hidden(primary), started=51)), 1),
        ((hidden(primary),), None),
    ):
        assert after(*outcomes).timeline == timeline, outcomes


def test_an_answer_that_comes_late_corrects_a_timeline_that_was_inferred() -> None:
    running = replace(PRIMARY, started=50)
    hidden = replace(running, timeline=None, system_id=None)
    for late, timeline in (
        (replace(running, timeline=3), 3),
        (replace(running, timeline=3, started=49), 1),  # another server at this address
        (replace(STANDBY, timeline=3, started=50), 1),
    ):
        table = table_of(running)
        table.apply(seen(0, 12, hidden))
        table.apply(replace(seen(0, 11, late), dialled=True))

        assert table[0].timeline == timeline, late
        assert table.is_stale(table[0]) is (timeline == 1)


def test_a_timeline_is_remembered_when_its_primary_is_gone() -> None:
    table = table_of(FailureKind.REFUSED, replace(PRIMARY, timeline=2))
    table.apply(seen(1, 11, FailureKind.REFUSED))
    table.apply(seen(0, 12, PRIMARY))

    assert table.is_stale(table[0])


@pytest.mark.parametrize(
    ("then", "replaced"),
    [
        pytest.param(replace(PRIMARY, timeline=2), True, id="a newer timeline"),
        pytest.param(replace(PRIMARY, system_id=8), True, id="another cluster"),
        pytest.param(PRIMARY, False, id="the same"),
        pytest.param(replace(PRIMARY, started=2), False, id="a restart"),
        pytest.param(replace(PRIMARY, writable=False), False, id="a demotion"),
        pytest.param(STANDBY, False, id="a rejoin as standby"),
        pytest.param(replace(PRIMARY, timeline=2, pooled=True), False, id="behind a pooler"),
        pytest.param(FailureKind.REFUSED, False, id="a failure"),
    ],
)
def test_a_primary_on_another_timeline_or_of_another_cluster_is_another_server(
    then: Outcome, replaced: bool
) -> None:
    table = table_of(PRIMARY)

    assert was_replaced(*table.apply(seen(0, 11, then))) is replaced


def test_a_standby_that_is_promoted_is_the_same_server() -> None:
    table = table_of(STANDBY)

    assert not was_replaced(*table.apply(seen(0, 11, replace(PRIMARY, timeline=2))))


def test_a_host_of_another_cluster_than_the_one_in_use_is_foreign() -> None:
    table = table_of(PRIMARY, replace(PRIMARY, system_id=8), FailureKind.REFUSED)
    before = [table.is_foreign(state) for state in table]

    table.adopt(0)

    assert before == [False, False, False]
    assert [table.is_foreign(state) for state in table] == [False, True, False]


def test_a_cluster_that_was_rebuilt_as_a_whole_is_not_foreign() -> None:
    table = table_of(PRIMARY, PRIMARY)
    table.adopt(0)
    rebuilt = replace(PRIMARY, system_id=8)

    table.apply(seen(0, 11, rebuilt))
    halfway = [table.is_foreign(state) for state in table]
    table.apply(seen(1, 12, rebuilt))

    assert halfway == [True, False]
    assert not any(table.is_foreign(state) for state in table)


def test_a_rebuilt_host_is_not_foreign_once_the_rest_of_its_cluster_has_been_gone_for_long() -> (
    None
):
    rebuilt = replace(PRIMARY, system_id=8)
    outcomes: dict[str, Outcome] = {
        "down": FailureKind.REFUSED,
        "up": STANDBY,
        "starting": FailureKind.STARTING,
    }
    foreign = {}
    for what, outcome in outcomes.items():
        for after_seconds in (5.0, REBUILT_AFTER + 1):
            table = table_of(PRIMARY, STANDBY)
            table.adopt(0)
            table.apply(seen(1, 11, outcome))
            table.apply(seen(0, 11 + after_seconds, rebuilt))
            foreign[what, after_seconds > REBUILT_AFTER] = table.is_foreign(table[0])

    assert [key for key, value in foreign.items() if not value] == [("down", True)]


def test_a_host_that_was_never_of_the_cluster_stays_foreign_when_the_cluster_is_gone() -> None:
    table = table_of(PRIMARY, replace(PRIMARY, system_id=8))
    table.adopt(0)
    table.apply(seen(0, 11, FailureKind.REFUSED))
    table.apply(seen(1, 100, replace(PRIMARY, system_id=8)))

    assert table.is_foreign(table[1])


def test_adopting_a_host_that_does_not_tell_its_cluster_keeps_the_cluster() -> None:
    table = table_of(PRIMARY, ServerInfo(writable=True))
    table.adopt(0)
    table.adopt(1)

    assert table.system_id == SYSTEM


def test_not_all_clusters_that_a_hostile_server_claims_are_remembered() -> None:
    table = table_of(replace(PRIMARY, timeline=3), MISSED)
    table.adopt(0)
    for number in range(10_000):
        table.apply(seen(1, 11 + number, replace(PRIMARY, timeline=9, system_id=1000 + number)))

    assert table.newest_timeline(SYSTEM) == 3
    assert table.newest_timeline(10_999) == 9
    assert sum(table.newest_timeline(1000 + number) > 0 for number in range(10_000)) < 100


# -- a new list ---------------------------------------------------------------------------------


def names(table: HostTable) -> list[str]:
    return [state.host.host for state in table]


def test_a_host_that_stays_in_the_list_keeps_its_index_and_its_state() -> None:
    table = HostTable(hosts("a", "b"))
    table.apply(seen(1, 1.0, PRIMARY))
    known = table[1]

    revision = table.revise(hosts("c", "b"))

    assert names(table) == ["c", "b"]
    assert [host.host for host in revision.added] == ["c"]
    assert [host.host for host in revision.gone] == ["a"]
    assert table[1] is known
    assert [state.host.index for state in table] == [2, 1]


def test_a_host_that_left_the_list_is_remembered_while_it_is_kept() -> None:
    table = HostTable(hosts("a", "b"))
    table.revise(hosts("b"), keep={0})

    assert names(table) == ["b"]
    assert table[0].host.host == "a"
    assert not table.is_listed(0)
    table.revise(hosts("b"))
    assert not table.is_known(0)


def test_a_host_that_returns_to_the_list_gets_a_new_index() -> None:
    table = HostTable(hosts("a", "b"))
    table.revise(hosts("b"))

    revision = table.revise(hosts("a", "b"))

    assert [(host.host, host.index) for host in revision.added] == [("a", 2)]
    assert names(table) == ["a", "b"]


def test_another_order_adds_and_removes_nothing() -> None:
    table = HostTable(hosts("a", "b"))

    assert table.revise(hosts("b", "a")) == ((), ())
    assert names(table) == ["b", "a"]


# -- the report ---------------------------------------------------------------------------------


def test_a_report_shows_what_the_table_knows() -> None:
    table = HostTable(hosts("db1", "db2", "db3"))
    info = ServerInfo(True, writable=False, timeline=3, system_id=7, lag=0.5, pooled=True)
    table.apply(Observation(0, 10.0, 10.25, info=info))
    table.apply(seen(0, 11.0, FailureKind.REFUSED))
    table.apply(seen(1, 13.0, replace(PRIMARY, timeline=2)))

    down, stale, unknown = table.report(1, 13.5)

    assert down == HostHealth(
        host="db1:5432",
        status="down",
        role="standby",
        writable=False,
        timeline=3,
        latency=0.25,
        lag=0.5,
        current=False,
        stale=False,
        failure="refused",
        age=2.5,
        pooled=True,
        failure_kind="refused",
    )
    assert (stale.current, stale.stale, stale.age, stale.failure) == (True, True, 0.5, None)
    assert (unknown.status, unknown.age, unknown.latency) == ("unknown", None, None)


# -- questions that wait ------------------------------------------------------------------------


def test_a_host_that_is_heard_otherwise_is_not_silent() -> None:
    heard = after(STANDBY, MISSED, MISSED, FailureKind.UNANSWERED)

    assert (heard.status, heard.misses, heard.silent_since) == (Status.UP, 0, None)
    assert heard.is_unanswered
    assert after(FailureKind.UNANSWERED).status is Status.UNKNOWN
    assert after(STANDBY, FailureKind.REFUSED, FailureKind.UNANSWERED).status is Status.DOWN


def test_it_is_remembered_since_when_a_host_answers_no_statement() -> None:
    waits, served = (
        FailureKind.UNANSWERED,
        replace(seen(0, 13, FailureKind.UNANSWERED), served=True),
    )
    table = table_of(STANDBY)
    for asked_at, outcome in [(11, waits), (12, waits)]:
        table.apply(seen(0, asked_at, outcome))
    waiting = table[0]
    table.apply(served)

    assert (waiting.unanswered_since, table[0].unanswered_since) == (11, None)
    assert after(STANDBY, waits, MISSED).unanswered_since == 11
    assert after(STANDBY, waits, FailureKind.SATURATED).unanswered_since is None
    assert after(waits, STANDBY).unanswered_since is None


@pytest.mark.parametrize("meanwhile", [MISSED, FailureKind.UNANSWERED, FailureKind.OTHER])
def test_a_late_answer_counts(meanwhile: FailureKind) -> None:
    table = table_of(STANDBY)
    for asked_at in (12, 13):
        table.apply(seen(0, asked_at, meanwhile))
    _, late = table.apply(seen(0, 11, PRIMARY))

    assert (late.status, late.role, late.misses) == (Status.UP, Role.PRIMARY, 0)
    assert late.asked_at == 11  # it is no newer than that


@pytest.mark.parametrize("told", [STANDBY, FailureKind.REFUSED, FailureKind.SATURATED])
def test_a_late_answer_does_not_overwrite_what_the_host_has_told_since(told: Outcome) -> None:
    table = table_of(STANDBY)
    table.apply(seen(0, 12, told))
    before, late = table.apply(seen(0, 11, PRIMARY))

    assert late == before


def test_a_session_that_took_long_to_make_ends_the_trouble_with_dials() -> None:
    table = table_of(STANDBY)
    table.apply(replace(seen(0, 11, FailureKind.UNANSWERED), dialled=True))
    table.apply(seen(0, 12, STANDBY))
    assert table[0].dials
    _, later = table.apply(replace(seen(0, 11, PRIMARY), dialled=True))

    assert (later.dials, later.role) == (None, Role.STANDBY)


# -- what always holds --------------------------------------------------------------------------

infos = st.builds(
    ServerInfo,
    in_recovery=st.none() | st.booleans(),
    writable=st.none() | st.booleans(),
    timeline=st.none() | st.integers(1, 4),
    system_id=st.sampled_from([None, 7, 8]),
)
outcomes = infos | infos | st.sampled_from(FailureKind)
histories = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 20), outcomes), max_size=20)


@given(histories)
def test_after_any_history_a_table_is_consistent(history: list[tuple[int, int, Outcome]]) -> None:
    table = HostTable(hosts("a", "b", "c", "d"))
    for host, asked_at, outcome in history:
        others = [state for state in table if state.host.index != host]
        timelines = [table.newest_timeline(system) for system in (None, 7, 8)]

        before, state = table.apply(seen(host, asked_at, outcome))

        # An older observation does not overwrite a newer one, and no other host changes. A late
        # answer counts, if there were only questions without one since.
        late = isinstance(outcome, ServerInfo) and before.told_at <= asked_at
        assert state.asked_at == (asked_at if late else max(before.asked_at, asked_at))
        assert asked_at >= before.asked_at or late or state == before
        assert [state for state in table if state.host.index != host] == others
        # The newest timeline of a cluster only grows.
        now = [table.newest_timeline(system) for system in (None, 7, 8)]
        assert all(later >= earlier for later, earlier in zip(now, timelines, strict=True))
        # A state does not contradict itself.
        assert (state.misses > 0) == (state.silent_since is not None)
        assert state.status is not Status.SILENT or state.misses >= 2
        assert state.steady_since is None or state.status is Status.UP


# -- timelines that nobody is on ----------------------------------------------------------------


NEWER = replace(PRIMARY, timeline=2)
LONG_AFTER = 12 + ABANDONED_AFTER


def stale_at(asked_at: float, *outcomes: tuple[int, float, Outcome]) -> list[bool]:
    """Return which of two hosts is stale when the first answered so at last, after *outcomes*."""
    table = table_of(PRIMARY, MISSED)
    for step in (*outcomes, (0, asked_at, PRIMARY)):
        table.apply(seen(*step))
    return [table.is_stale(state) for state in table]


def test_a_server_that_was_set_back_is_not_stale_for_ever() -> None:
    assert stale_at(LONG_AFTER, (0, 11, NEWER)) == [False, False]


def test_a_timeline_counts_while_it_was_seen_lately_or_a_host_that_was_on_it_may_still_be() -> None:
    still = {
        "one address leads to two servers": stale_at(LONG_AFTER, (0, LONG_AFTER - 1, NEWER)),
        "the other one is down": stale_at(
            LONG_AFTER, (0, 11, NEWER), (1, 11, NEWER), (1, 12, MISSED)
        ),
        "the other one is silent": stale_at(LONG_AFTER, (1, 11, NEWER), (1, 12, MISSED)),
        "it is a standby now, whose timeline may lag": stale_at(
            LONG_AFTER, (1, 11, NEWER), (1, LONG_AFTER, STANDBY)
        ),
        "an older one counts, too": stale_at(
            LONG_AFTER, (1, 10.5, NEWER), (1, 11, MISSED), (0, 11, replace(PRIMARY, timeline=3))
        ),
    }

    assert still == {what: [True, False] for what in still}


def test_timelines_that_are_forgotten_leave_those_that_hosts_are_on() -> None:
    table = table_of(PRIMARY, NEWER, STANDBY)
    table.forget_timelines()
    assert table.is_stale(table[0])

    table.apply(seen(1, 11, FailureKind.REFUSED))
    assert table.is_stale(table[0])
    table.forget_timelines()
    assert not table.is_stale(table[0])

    table.apply(seen(1, 12, NEWER))
    assert table.is_stale(table[0])


def test_a_report_says_where_and_when_a_newer_timeline_was_seen() -> None:
    table = table_of(PRIMARY, NEWER)
    stale, newest = table.report(None, 70.0, 1_800_000_000.0)

    assert stale.stale_because == "timeline 2 was seen on db2:5432 at 2027-01-15 07:59:00 UTC"
    assert str(stale).endswith("call reconnect(forget_timelines=True))")
    assert newest.stale_because is None
