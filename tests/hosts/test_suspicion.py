"""`Suspicion`: when a host is probed for the doubts about it, and when all hosts are."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decision_cases import observation, table_of
from pgmoor._core.hosts.failures import FailureKind
from pgmoor._core.hosts.host import ServerInfo
from pgmoor._core.hosts.probe_pace import BURST_LAST
from pgmoor._core.hosts.suspicion import BURST_MEMORY, MEMORY, Suspicion

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pgmoor._core.hosts.table import HostTable

PRIMARY = ServerInfo(in_recovery=False, writable=True, timeline=1)
INTERVAL = 1.0


@pytest.fixture
def table() -> HostTable:
    """Two hosts; the first is in use."""
    return table_of(2)


@pytest.fixture
def suspicion() -> Suspicion:
    """Nobody doubts anything yet."""
    return Suspicion(INTERVAL)


def lasts(suspicion: Suspicion) -> bool:
    return suspicion.since is not None


def answers(table: HostTable, host: int, asked_at: float) -> None:
    table.apply(observation(host, asked_at, PRIMARY))


def probes(
    suspicion: Suspicion, table: HostTable, doubts: Sequence[tuple[float, str]]
) -> list[float]:
    """Raise doubts about the first host, which answers at once; return when it is probed."""
    found = []
    for now, kind in doubts:
        suspicion.doubt(0, kind, now)
        due = suspicion.due(table[0])
        if due is not None and due <= now:
            found.append(now)
            suspicion.probed(0, now)
            answers(table, 0, now)
            suspicion.settle(0, now)
    return found


def every(seconds: float, kind: str, *, count: int, start: float = 10.0) -> list[tuple[float, str]]:
    return [(start + seconds * number, kind) for number in range(count)]


# -- doubts about one host ----------------------------------------------------------------------


def test_the_first_doubt_is_answered_at_once_and_wrong_ones_ever_more_seldom(
    suspicion: Suspicion, table: HostTable
) -> None:
    asked = probes(suspicion, table, every(0.001, "timeout", count=10_000))

    assert asked[0] == 10.0
    rests = [later - earlier for earlier, later in pairwise(asked)]
    assert rests[0] < 0.03
    assert all(longer >= rest - 0.002 for rest, longer in pairwise(rests))
    assert rests[-1] == pytest.approx(INTERVAL, abs=0.01)
    assert len(asked) <= 3 + 10


@given(st.lists(st.tuples(st.floats(0, 0.5), st.sampled_from("abcd")), min_size=1, max_size=200))
def test_doubts_of_all_kinds_together_ask_no_faster_than_one_kind(
    steps: list[tuple[float, str]],
) -> None:
    now, doubts = 10.0, []
    for step, kind in steps:
        now += step
        doubts.append((now, kind))

    asked = probes(Suspicion(INTERVAL), table_of(1), doubts)

    # Each kind has three short rests before its rest is as long as the interval.
    assert len(asked) <= 4 * 4 + (now - 10.0) / INTERVAL


def test_a_new_kind_of_doubt_is_answered_at_once_whatever_was_wrong_before(
    suspicion: Suspicion, table: HostTable
) -> None:
    probes(suspicion, table, every(0.025, "timeout", count=200))

    assert probes(suspicion, table, [(15.01, "broken")]) == [15.01]


def test_real_trouble_makes_every_doubt_count_in_full_again(
    suspicion: Suspicion, table: HostTable
) -> None:
    last = probes(suspicion, table, every(0.025, "timeout", count=200))[-1]
    assert suspicion.doubt(0, "timeout", 15.0) is False  # one has been waiting for its turn
    due = suspicion.due(table[0])
    assert due == pytest.approx(last + INTERVAL)

    suspicion.confirm(0)

    due = suspicion.due(table[0])
    assert due is not None
    assert due <= 15.0


def test_a_doubt_is_as_good_as_new_after_some_time_without_one(
    suspicion: Suspicion, table: HostTable
) -> None:
    probes(suspicion, table, every(0.025, "timeout", count=200))
    later = 15.0 + MEMORY * INTERVAL + 0.1
    answers(table, 0, later - 0.01)

    assert probes(suspicion, table, [(later, "timeout")]) == [later]


def test_an_answer_to_an_earlier_question_proves_nothing(
    suspicion: Suspicion, table: HostTable
) -> None:
    assert suspicion.doubt(0, "broken", 10.0)
    suspicion.probed(0, 10.0)
    suspicion.settle(0, 9.9)
    assert suspicion.first_sign(0) == 10.0

    assert not suspicion.doubt(0, "broken", 10.05)
    suspicion.settle(0, 10.01)  # asked before the second doubt

    assert suspicion.first_sign(0) == 10.05
    answers(table, 0, 10.01)
    due = suspicion.due(table[0])
    assert due is not None
    assert due <= 10.06


def test_a_doubt_about_one_host_says_nothing_of_another(
    suspicion: Suspicion, table: HostTable
) -> None:
    suspicion.doubt(0, "broken", 10.0)

    assert suspicion.due(table[0]) == 10.0
    assert suspicion.due(table[1]) is None
    assert suspicion.first_sign(1) is None


def test_a_doubt_without_an_answer_becomes_a_suspicion_after_a_moment(
    suspicion: Suspicion, table: HostTable
) -> None:
    answers(table, 0, 9.0)
    suspicion.doubt(0, "broken", 10.0)
    assert suspicion.unanswered(table[0]) is None  # nobody has asked yet
    suspicion.probed(0, 10.0)
    assert suspicion.unanswered(table[0]) == pytest.approx(10.0 + BURST_LAST)

    suspicion.settle(0, 10.01)

    assert suspicion.unanswered(table[0]) is None


def test_hosts_that_are_gone_are_forgotten_and_a_change_of_hosts_ends_all_doubts(
    suspicion: Suspicion, table: HostTable
) -> None:
    suspicion.doubt(0, "broken", 10.0)
    suspicion.doubt(1, "broken", 10.0)
    suspicion.forget(lambda host: host == 1)
    assert (suspicion.due(table[0]), suspicion.due(table[1])) == (None, 10.0)

    suspicion.clear()

    assert suspicion.due(table[1]) is None


# -- the suspicion of the host in use -----------------------------------------------------------


def test_a_suspicion_ends_when_all_hosts_have_answered_since_it_began(
    suspicion: Suspicion, table: HostTable
) -> None:
    assert [suspicion.begin(10.0), suspicion.begin(11.0)] == [True, False]
    answers(table, 0, 9.9)
    assert suspicion.resolve(table, table[0], 0.2, 11.05) is None
    assert lasts(suspicion)

    answers(table, 0, 11.1)
    answers(table, 1, 11.1)

    assert suspicion.resolve(table, table[0], 0.2, 11.15) is None
    assert not lasts(suspicion)


def test_the_other_hosts_are_waited_for_no_longer_than_the_patience(
    suspicion: Suspicion, table: HostTable
) -> None:
    suspicion.begin(10.0)
    answers(table, 0, 10.1)

    assert suspicion.resolve(table, table[0], 0.2, 10.15) == pytest.approx(10.2)
    assert lasts(suspicion)
    assert suspicion.resolve(table, table[0], 0.2, 10.25) is None
    assert not lasts(suspicion)


def test_it_lasts_while_the_host_in_use_misses_probes(
    suspicion: Suspicion, table: HostTable
) -> None:
    suspicion.begin(10.0)
    table.apply(observation(0, 10.1, FailureKind.TIMEOUT))

    assert suspicion.resolve(table, table[0], 0.2, 99.0) is None
    assert lasts(suspicion)
    suspicion.clear()
    assert not lasts(suspicion)


def test_a_suspicion_soon_after_the_last_one_continues_its_burst(
    suspicion: Suspicion, table: HostTable
) -> None:
    bursts = []
    for sign in (10.0, 10.5, 10.6 + 2 * BURST_MEMORY):
        suspicion.begin(sign)
        bursts.append(suspicion.burst_since)
        for host in (0, 1):
            answers(table, host, sign + 0.05)
        suspicion.resolve(table, table[0], 0.2, sign + 0.1)

    assert bursts == [10.0, 10.0, 10.6 + 2 * BURST_MEMORY]
