"""One attempt each 5 s at a host that turns us away."""

from __future__ import annotations

import pytest

from pgmoor._core.dialling.login_throttle import RETRY_INTERVAL, LoginThrottle
from pgmoor._core.hosts.failures import Failure, FailureKind

WRONG_PASSWORD = Failure(FailureKind.CREDENTIALS, "password authentication failed")


def test_nothing_is_held_up_at_first() -> None:
    gate = LoginThrottle()

    assert [gate.admit(0.0) for _ in range(10)] == [None] * 10
    assert gate.wait_time(0.0) == 0.0


@pytest.mark.parametrize("kind", [FailureKind.CREDENTIALS, FailureKind.CONFIGURATION])
def test_after_a_rejection_one_attempt_is_made_in_each_interval(kind: FailureKind) -> None:
    gate = LoginThrottle()
    failure = Failure(kind, "no")
    gate.failed(failure, 10.0)

    admitted = [at / 10 for at in range(100, 400) if gate.admit(at / 10) is None]

    assert admitted == pytest.approx([10 + RETRY_INTERVAL * n for n in range(1, 6)])
    assert gate.admit(40.0) is None
    assert gate.admit(40.1) == failure
    assert gate.wait_time(40.1) == pytest.approx(RETRY_INTERVAL - 0.1)


@pytest.mark.parametrize(
    "kind",
    [k for k in FailureKind if k not in (FailureKind.CREDENTIALS, FailureKind.CONFIGURATION)],
)
def test_other_failures_hold_nobody_up(kind: FailureKind) -> None:
    gate = LoginThrottle()
    gate.failed(Failure(kind, "no"), 10.0)

    assert gate.admit(10.0) is None


def test_success_opens_it() -> None:
    gate = LoginThrottle()
    gate.failed(WRONG_PASSWORD, 10.0)

    assert gate.succeeded()
    assert not gate.succeeded()
    assert gate.admit(10.1) is None
    assert gate.wait_time(10.1) == 0.0


@pytest.mark.parametrize("kind", [FailureKind.REFUSED, FailureKind.STARTING, FailureKind.NAME])
def test_a_server_that_begins_anew_opens_it(kind: FailureKind) -> None:
    gate = LoginThrottle()
    gate.failed(WRONG_PASSWORD, 10.0)
    gate.failed(Failure(kind, "no"), 15.0)

    assert gate.admit(15.1) is None


@pytest.mark.parametrize("kind", [FailureKind.TIMEOUT, FailureKind.RESET, FailureKind.SATURATED])
def test_a_server_that_may_have_looked_at_the_password_does_not(kind: FailureKind) -> None:
    gate = LoginThrottle()
    gate.failed(WRONG_PASSWORD, 10.0)
    assert gate.admit(15.0) is None
    gate.failed(Failure(kind, "no"), 15.0)

    assert gate.admit(15.1) == WRONG_PASSWORD
