"""`Health`: how a manager is graded, and the report as plain values."""

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
    HostHealth,
    PoolFigures,
    State,
    Status,
)
from pgmoor.hosts import Facts, Host, HostTable, Observation
from pgmoor.sqlstate import Failure, FailureKind

CALM = PoolFigures(size=4, used=1, idle=3, waiting=0, min_size=4, max_size=8)
FULL = PoolFigures(size=8, used=8, idle=0, waiting=3, min_size=4, max_size=8)


def host(
    status: Status = Status.UP,
    *,
    name: str = "db1:5432",
    current: bool = False,
    stale: bool = False,
) -> HostHealth:
    return HostHealth(
        host=name,
        status=status.value,
        role="primary",
        writable=True,
        timeline=1,
        latency=0.001,
        lag=None,
        current=current,
        stale=stale,
        failure=None,
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
    hosts=(CURRENT, replace(host(Status.DOWN, name="db2:5432"), failure="Connection refused")),
    name="orders",
    at=1_700_000_000.0,
)


# -- grades -------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", [state for state in State if state not in SERVING])
def test_a_manager_that_does_not_serve_fails(state: State) -> None:
    assert grade(state, CALM, (CURRENT,)) == ("fail", state.value)


def test_a_manager_passes_when_all_is_well() -> None:
    assert grade(State.READY, CALM, (CURRENT, host(name="db2:5432"))) == ("pass", "connected")


def test_a_host_that_was_not_asked_yet_is_no_reason_to_warn() -> None:
    assert grade(State.READY, CALM, (CURRENT, host(Status.UNKNOWN)))[0] == "pass"


def test_a_stalled_manager_serves_and_warns() -> None:
    status, reason = grade(State.STALLED, CALM, (CURRENT,))

    assert (status, reason) == ("warn", "the host in use does not answer")


@pytest.mark.parametrize("status", [Status.DOWN, Status.SILENT, Status.STARTING, Status.REJECTED])
def test_a_host_that_cannot_be_used_is_worth_a_warning(status: Status) -> None:
    other = host(status, name="db2:5432")

    assert grade(State.READY, CALM, (CURRENT, other)) == ("warn", f"db2:5432 is {status.value}")


def test_a_stale_primary_is_named_before_a_host_that_is_down() -> None:
    down, stale = host(Status.DOWN, name="db2:5432"), host(name="db3:5432", stale=True)

    status, reason = grade(State.READY, CALM, (CURRENT, down, stale))

    assert status == "warn"
    assert reason == "db3:5432 claims to be primary on a timeline that was left"


def test_a_dead_primary_claims_nothing() -> None:
    dead = host(Status.DOWN, name="db2:5432", stale=True)

    assert grade(State.READY, CALM, (CURRENT, dead)) == ("warn", "db2:5432 is down")


def test_callers_who_wait_for_a_full_pool_are_worth_a_warning() -> None:
    status, reason = grade(State.READY, FULL, (CURRENT,))

    assert (status, reason) == ("warn", "all connections are in use and callers wait")


@pytest.mark.parametrize(
    "pool",
    [
        replace(FULL, waiting=0),
        replace(FULL, used=7, idle=1),
        replace(FULL, size=7, used=7),
        replace(FULL, max_overflow=1),
    ],
    ids=["nobody waits", "one is idle", "it may still grow", "it may still overflow"],
)
def test_a_busy_pool_is_not(pool: PoolFigures) -> None:
    assert grade(State.READY, pool, (CURRENT,))[0] == "pass"


# -- plain values -------------------------------------------------------------------------------


def test_a_report_is_plain_values() -> None:
    shown = json.loads(json.dumps(REPORT.to_dict()))

    assert (shown["name"], shown["at"], shown["since"]) == ("orders", 1_700_000_000.0, 12.3456)
    assert shown["pool"] == asdict(CALM)
    assert [(item["host"], item["current"]) for item in shown["hosts"]] == [
        ("db1:5432", True),
        ("db2:5432", False),
    ]


def test_a_report_without_details_names_no_host_and_no_error() -> None:
    shown = json.dumps(REPORT.to_dict(details=False))

    assert "db" not in shown
    assert "refused" not in shown
    assert json.loads(shown) == {
        "status": "warn",
        "live": True,
        "ready": True,
        "state": "ready",
        "since": 12.346,
    }


@given(st.text(alphabet="abcdefghij", min_size=12), st.text(alphabet="klmnopqrst", min_size=12))
def test_whatever_a_host_is_called_a_report_without_details_does_not_say(
    name: str, failure: str
) -> None:
    secret = replace(host(Status.DOWN, name=name), failure=failure)
    report = replace(REPORT, reason=f"{name} is down: {failure}", hosts=(secret,))

    shown = json.dumps(report.to_dict(details=False))

    assert name not in shown
    assert failure not in shown


def test_a_host_is_reported_as_the_table_knows_it() -> None:
    table = HostTable([Host(0, "db1", 5432)])
    facts = Facts(in_recovery=True, writable=False, timeline=3, system_id=7, lag=0.5)
    table.apply(Observation(0, 10.0, 10.25, facts=facts))
    failure = Failure(FailureKind.REFUSED, "Connection refused")
    table.apply(Observation(0, 11.0, 11.0, failure=failure))

    (shown,) = table.report(None, 13.5)

    assert shown == HostHealth(
        host="db1:5432",
        status="down",
        role="standby",
        writable=False,
        timeline=3,
        latency=0.25,
        lag=0.5,
        current=False,
        stale=False,
        failure="Connection refused",
        age=2.5,
        failure_kind="refused",
    )


def test_a_host_that_was_never_asked_has_no_age() -> None:
    table = HostTable([Host(0, "db1", 5432)])

    assert table.report(None, 13.5)[0].age is None
