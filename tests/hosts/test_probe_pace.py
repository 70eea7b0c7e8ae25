"""`pace()`: how often a host is probed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgmoor._core.hosts.failures import Failure, FailureKind
from pgmoor._core.hosts.host import Host, HostState
from pgmoor._core.hosts.probe_pace import Situation, pace
from pgmoor.health import Status

NOW = 1000.0
PLACE = Host(0, "db1", 5432)
UP = HostState(PLACE, status=Status.UP)
DOWN = HostState(PLACE, status=Status.DOWN)
SILENT = HostState(PLACE, status=Status.SILENT)
STARTING = HostState(PLACE, status=Status.STARTING)
REJECTED = HostState(PLACE, status=Status.REJECTED)
FULL = HostState(PLACE, status=Status.UP, failure=Failure(FailureKind.SATURATED, "no slot"))
CALM = Situation()
IN_DOUBT = Situation(unsure_since=NOW)
SEARCHING = Situation(searching=True, unsure_since=NOW)
GAVE_UP = Situation(searching=True, unsure_since=NOW, given_up=True)


@pytest.mark.parametrize(
    ("state", "situation", "seconds", "expected"),
    [
        pytest.param(UP, CALM, 0, 1.0, id="at the interval"),
        pytest.param(DOWN, CALM, 0, 1.0, id="a host that is down and not needed, as often"),
        pytest.param(UP, IN_DOUBT, 0, 0.01, id="a burst begins 10 ms apart"),
        pytest.param(UP, IN_DOUBT, 1, 0.05, id="a burst slows down"),
        pytest.param(UP, IN_DOUBT, 60, 0.1, id="a burst does not slow down beyond 100 ms"),
        pytest.param(DOWN, IN_DOUBT, 0, 0.01, id="a burst is for all hosts"),
        pytest.param(UP, SEARCHING, 60, 0.1, id="in an outage, hosts that may be promoted"),
        pytest.param(STARTING, SEARCHING, 60, 0.1, id="in an outage, hosts that are starting"),
        pytest.param(DOWN, SEARCHING, 60, None, id="in an outage, not hosts that are down"),
        pytest.param(SILENT, SEARCHING, 60, None, id="in an outage, not hosts that are silent"),
        pytest.param(REJECTED, CALM, 0, 5.0, id="a host that rejects us, every 5 s"),
        pytest.param(REJECTED, IN_DOUBT, 0, 5.0, id="no burst against a host that rejects us"),
        pytest.param(REJECTED, SEARCHING, 0, 5.0, id="nor in an outage"),
        pytest.param(FULL, IN_DOUBT, 0, 1.0, id="no burst against a host that has no room"),
        pytest.param(UP, GAVE_UP, 0, None, id="no host, after giving up"),
    ],
)
def test_the_pace_of_probes(
    state: HostState, situation: Situation, seconds: float, expected: float | None
) -> None:
    assert pace(state, situation, 1.0, NOW + seconds) == pytest.approx(expected)


def test_the_interval_limits_a_burst_and_may_be_longer_than_the_pause_after_a_rejection() -> None:
    assert pace(UP, IN_DOUBT, 0.05, NOW + 60) == 0.05
    assert pace(REJECTED, CALM, 60.0, NOW) == 60.0
    assert pace(FULL, CALM, 0.05, NOW) == 0.5


@given(
    st.sampled_from([UP, DOWN, SILENT, STARTING, REJECTED, FULL, HostState(PLACE)]),
    st.floats(allow_nan=False, allow_infinity=False),
    st.booleans(),
    st.booleans(),
)
def test_a_pace_is_positive_or_left_to_others(
    state: HostState, since: float, searching: bool, given_up: bool
) -> None:
    situation = Situation(searching=searching, unsure_since=since, given_up=given_up)

    delay = pace(state, situation, 1.0, NOW)

    assert delay is None or 0 < delay <= 5.0
