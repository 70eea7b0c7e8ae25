"""What a tally counts, with a clock that the test sets."""

from __future__ import annotations

import threading

import pytest

from pgmoor._metrics.tally import Tally
from pgmoor.events import Failover, HostDown
from pgmoor.health import State


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def tally(clock: Clock) -> Tally:
    return Tally(["db1:5432", "db2:5432"], clock)


def enter(tally: Tally, clock: Clock, *steps: tuple[State, float]) -> None:
    """Enter each state and let its seconds pass."""
    for state, seconds in steps:
        tally.entered(state.value)
        clock.now += seconds


def test_only_time_without_a_host_counts_as_outage(tally: Tally, clock: Clock) -> None:
    enter(tally, clock, (State.STARTING, 1), (State.READY, 10), (State.STALLED, 5))
    assert tally.outage_seconds() == 0

    enter(tally, clock, (State.SEARCHING, 0.2), (State.OUTAGE, 3))
    assert tally.outage_seconds() == pytest.approx(3.2)  # it has not ended

    enter(tally, clock, (State.READY, 60))
    assert tally.outage_seconds() == pytest.approx(3.2)

    enter(tally, clock, (State.SEARCHING, 1), (State.CLOSED, 60))
    assert tally.outage_seconds() == pytest.approx(4.2)


def test_an_outage_continues_after_the_manager_has_given_up(tally: Tally, clock: Clock) -> None:
    enter(tally, clock, (State.STARTING, 0.2), (State.OUTAGE, 2), (State.GAVE_UP, 30))

    assert tally.outage_seconds() == pytest.approx(32)


def test_an_immediate_failover_is_a_detection_and_a_recovery(tally: Tally, clock: Clock) -> None:
    enter(tally, clock, (State.READY, 10))
    tally.left("db1:5432", 1.5)
    clock.now += 0.004
    tally.happened(Failover(before="db1:5432", after="db2:5432", reason="", seconds=1.5))

    assert tally.failovers == 1
    assert tally.detections.read().total == pytest.approx(1.5)
    assert tally.recoveries.read().count == 1
    assert tally.recoveries.read().total == pytest.approx(0.004)
    assert tally.outage_seconds() == 0


def test_a_recovery_lasts_until_a_host_is_in_use_and_counts_once(
    tally: Tally, clock: Clock
) -> None:
    enter(tally, clock, (State.READY, 10))
    tally.left("db1:5432", 0.01)
    enter(tally, clock, (State.SEARCHING, 0.2), (State.OUTAGE, 7))
    assert tally.recoveries.read().count == 0

    tally.happened(Failover(before="db1:5432", after="db2:5432", reason="", seconds=7.2))
    enter(tally, clock, (State.READY, 5))

    assert tally.recoveries.read().count == 1
    assert tally.recoveries.read().total == pytest.approx(7.2)


def test_the_return_of_the_same_host_is_a_recovery_without_a_failover(
    tally: Tally, clock: Clock
) -> None:
    enter(tally, clock, (State.READY, 10))
    tally.left("db1:5432", 0.01)
    enter(tally, clock, (State.SEARCHING, 0.1), (State.READY, 5))

    assert tally.failovers == 0
    assert tally.recoveries.read().total == pytest.approx(0.1)


def test_closing_the_manager_in_an_outage_is_no_recovery(tally: Tally, clock: Clock) -> None:
    enter(tally, clock, (State.READY, 10))
    tally.left("db1:5432", 0.01)
    enter(tally, clock, (State.SEARCHING, 2), (State.CLOSED, 1))

    assert tally.recoveries.read().count == 0


def test_failures_are_counted_by_host_and_kind(tally: Tally) -> None:
    tally.probed("db1:5432", 0.001, None)
    tally.probed("db2:5432", 1.0, "timeout")
    for outcome in (None, "refused", "refused", KeyboardInterrupt()):
        tally.dialling("db1:5432")(outcome)
    tally.happened(HostDown(host="db2:5432", status="silent", reason=""))

    assert tally.probes["db1:5432"].read().count == 1
    assert tally.probes["db2:5432"].read().count == 0
    assert dict(tally.probe_failures) == {("db2:5432", "timeout"): 1}
    assert dict(tally.dial_failures) == {("db1:5432", "refused"): 2}
    assert dict(tally.events) == {"HostDown": 1}


def test_the_outage_time_never_shrinks_for_readers_in_other_threads() -> None:
    tally = Tally(["db1:5432"])
    done = threading.Event()
    shrunk: list[float] = []

    def read() -> None:
        newest = 0.0
        while not done.is_set():
            seconds = tally.outage_seconds()
            if seconds < newest:
                shrunk.append(newest - seconds)
            newest = seconds

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for _ in range(2000):
        tally.entered(State.SEARCHING.value)
        tally.entered(State.READY.value)
    done.set()
    for reader in readers:
        reader.join()

    assert shrunk == []
    assert tally.outage_seconds() > 0


def test_a_host_that_is_not_in_the_list_is_no_error(tally: Tally) -> None:
    tally.probed("db9:5432", 0.001, None)
    tally.probed("db9:5432", 0.001, "refused")
    tally.aborted("db9:5432")
