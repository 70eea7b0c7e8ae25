"""`Suspicion`: from the first hint that the host in use is in trouble until the hosts answered."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from decision_cases import observation, table_of
from pgmoor._core.hosts.failures import FailureKind
from pgmoor._core.hosts.host import ServerInfo
from pgmoor._core.hosts.suspicion import BURST_MEMORY, Suspicion

if TYPE_CHECKING:
    from pgmoor._core.hosts.table import HostTable

PRIMARY = ServerInfo(in_recovery=False, writable=True, timeline=1)


@pytest.fixture
def table() -> HostTable:
    """Two hosts; the first is in use."""
    return table_of(2)


def lasts(suspicion: Suspicion) -> bool:
    return suspicion.since is not None


def answers(table: HostTable, host: int, asked_at: float) -> None:
    table.apply(observation(host, asked_at, PRIMARY))


def test_a_suspicion_ends_when_all_hosts_have_answered_since_the_newest_hint(
    table: HostTable,
) -> None:
    suspicion = Suspicion()
    assert [suspicion.begin(10.0), suspicion.begin(11.0)] == [True, False]
    answers(table, 0, 10.5)
    assert suspicion.resolve(table, table[0], 0.2, 11.05) is None  # before the newest hint
    assert lasts(suspicion)

    answers(table, 0, 11.1)
    answers(table, 1, 11.1)

    assert suspicion.resolve(table, table[0], 0.2, 11.15) is None
    assert not lasts(suspicion)
    assert suspicion.first_hint == 10.0


def test_the_other_hosts_are_waited_for_no_longer_than_the_patience(table: HostTable) -> None:
    suspicion = Suspicion()
    suspicion.begin(10.0)
    answers(table, 0, 10.1)

    assert suspicion.resolve(table, table[0], 0.2, 10.15) == pytest.approx(10.2)
    assert lasts(suspicion)
    assert suspicion.resolve(table, table[0], 0.2, 10.25) is None
    assert not lasts(suspicion)


def test_it_lasts_while_the_host_in_use_misses_probes(table: HostTable) -> None:
    suspicion = Suspicion()
    suspicion.begin(10.0)
    table.apply(observation(0, 10.1, FailureKind.TIMEOUT))

    assert suspicion.resolve(table, table[0], 0.2, 99.0) is None
    assert lasts(suspicion)
    suspicion.clear()
    assert not lasts(suspicion)


def test_a_suspicion_soon_after_the_last_one_continues_its_burst(table: HostTable) -> None:
    suspicion = Suspicion()
    bursts = []
    for hint in (10.0, 10.5, 10.6 + 2 * BURST_MEMORY):
        suspicion.begin(hint)
        bursts.append(suspicion.burst_since)
        for host in (0, 1):
            answers(table, host, hint + 0.05)
        suspicion.resolve(table, table[0], 0.2, hint + 0.1)

    assert bursts == [10.0, 10.0, 10.6 + 2 * BURST_MEMORY]
