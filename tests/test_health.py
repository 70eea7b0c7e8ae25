"""`Health`: how a manager is graded, and the report in words and as plain values."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgmoor._core.manager.snapshot import grade
from pgmoor.health import (
    SERVING,
    Health,
    Holder,
    HostHealth,
    PoolFigures,
    State,
    Status,
)

CALM = PoolFigures(size=4, used=1, idle=3, waiting=0, min_size=4, max_size=8)
FULL = PoolFigures(size=8, used=8, idle=0, waiting=3, min_size=4, max_size=8)


def host(
    status: Status = Status.UP,
    *,
    name: str = "db1:5432",
    role: str = "primary",
    writable: bool | None = True,
    current: bool = False,
    stale: bool = False,
    failure: str | None = None,
) -> HostHealth:
    return HostHealth(
        host=name,
        status=status.value,
        role=role,
        writable=writable,
        timeline=1,
        latency=0.001,
        lag=None,
        current=current,
        stale=stale,
        failure=failure,
    )


CURRENT = host(current=True)

REPORT = Health(
    live=True,
    ready=True,
    status="warn",
    state="ready",
    reason="db2:5432 is down",
    since=12.3456,
    pool=CALM,
    hosts=(CURRENT, host(Status.DOWN, name="db2:5432", failure="Connection refused")),
    name="orders",
    at=1_700_000_000.0,
)


# -- grades -------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", State)
def test_a_manager_passes_warns_or_fails_by_its_state(state: State) -> None:
    graded = grade(state, CALM, (CURRENT, host(Status.UNKNOWN, name="db2:5432")))

    serving = {
        State.READY: ("pass", "connected"),
        State.STALLED: ("warn", "the host in use does not answer"),
        State.QUIET: ("pass", "quiet: the next caller wakes it"),
    }
    assert serving.keys() == SERVING
    assert graded == serving.get(state, ("fail", state.value))


def test_a_manager_whose_host_gives_it_no_connection_fails() -> None:
    graded = grade(State.READY, CALM, (CURRENT,), "too many clients already")

    assert graded == ("fail", "no connection can be made: too many clients already")


def test_a_manager_whose_host_gives_it_no_new_connection_warns() -> None:
    graded = grade(State.READY, CALM, (CURRENT,), failing="Connection refused")

    assert graded == ("warn", "no new connection can be made: Connection refused")


def test_a_host_that_can_t_be_used_is_a_warning_and_a_live_stale_primary_the_first() -> None:
    for status in (Status.DOWN, Status.SILENT, Status.STARTING, Status.REJECTED):
        other = host(status, name="db2:5432", stale=status is Status.DOWN)
        assert grade(State.READY, CALM, (CURRENT, other)) == (
            "warn",
            str(other),
        )
    down, stale = host(Status.DOWN, name="db2:5432"), host(name="db3:5432", stale=True)
    assert grade(State.READY, CALM, (CURRENT, down, stale)) == (
        "warn",
        "db3:5432 claims to be primary on a superseded timeline",
    )


def test_a_host_that_rejects_our_login_is_graded_in_the_words_that_its_own_line_has() -> None:
    other = host(Status.REJECTED, name="db2:5432", failure="no password supplied")

    assert grade(State.READY, CALM, (CURRENT, other))[1] == "db2:5432 rejects our login"
    assert str(other) == "db2:5432 rejects our login (no password supplied)"


def test_callers_who_wait_are_a_warning_if_the_pool_is_full() -> None:
    assert grade(State.READY, FULL, (CURRENT,)) == (
        "warn",
        "all connections are in use and callers wait",
    )
    for pool in (
        replace(FULL, waiting=0),
        replace(FULL, used=7, idle=1),
        replace(FULL, size=7, used=7),
        replace(FULL, max_overflow=1),
    ):
        assert grade(State.READY, pool, (CURRENT,))[0] == "pass", pool


# -- words --------------------------------------------------------------------------------------


def test_a_host_says_itself_in_a_few_words() -> None:
    sentences = {
        host(Status.UNKNOWN, role="unknown", writable=None): "db1:5432 has not answered yet",
        host(): "db1:5432 is up (primary)",
        host(stale=True): "db1:5432 is up (stale primary)",
        host(writable=False): "db1:5432 is up (read-only primary)",
        host(role="standby", writable=False): "db1:5432 is up (standby)",
        host(role="unknown"): "db1:5432 is up (writable)",
        host(role="unknown", writable=False): "db1:5432 is up (read-only)",
        host(failure="too many clients already"): "db1:5432 is up (too many clients already)",
        host(Status.DOWN, failure="Connection refused"): "db1:5432 is down (Connection refused)",
        host(Status.SILENT): "db1:5432 is silent",
        host(Status.REJECTED, failure="no password supplied"): (
            "db1:5432 rejects our login (no password supplied)"
        ),
    }

    assert {shown: str(shown) for shown in sentences} == sentences


def test_figures_and_holders_say_themselves() -> None:
    assert str(CALM) == "size 4 of 8, used 1, idle 3, waiting 0"
    assert str(replace(CALM, max_overflow=2)) == "size 4 of 8+2, used 1, idle 3, waiting 0"
    assert str(Holder("report", 12.34)) == "report for 12.3 s"


# -- plain values -------------------------------------------------------------------------------


def test_a_report_is_plain_values() -> None:
    shown = json.loads(json.dumps(REPORT.to_dict()))

    assert (shown["name"], shown["at"], shown["since"]) == ("orders", 1_700_000_000.0, 12.3456)
    assert shown["pool"] == asdict(CALM)
    assert [(item["host"], item["current"]) for item in shown["hosts"]] == [
        ("db1:5432", True),
        ("db2:5432", False),
    ]


@given(st.text(alphabet="abcdefghij", min_size=12), st.text(alphabet="klmnopqrst", min_size=12))
def test_a_report_without_details_names_no_host_and_quotes_no_error(
    name: str, failure: str
) -> None:
    down = host(Status.DOWN, name=name, failure=failure)
    report = replace(REPORT, reason=f"{name} is down: {failure}", hosts=(down,))

    assert report.to_dict(details=False) == {
        "status": "warn",
        "live": True,
        "ready": True,
        "state": "ready",
        "since": 12.346,
    }
