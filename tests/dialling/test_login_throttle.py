"""`LoginThrottle`: after a rejection, one login attempt every 5 s."""

from __future__ import annotations

import pytest

from pgmoor._core.dialling.login_throttle import RETRY_INTERVAL, LoginThrottle
from pgmoor._core.hosts.failures import Failure, FailureKind

REJECTED = Failure(FailureKind.CREDENTIALS, "password authentication failed")
REJECTIONS = (FailureKind.CREDENTIALS, FailureKind.CONFIGURATION, FailureKind.UNWILLING)


def test_at_first_every_attempt_is_admitted() -> None:
    throttle = LoginThrottle()

    assert [throttle.admit(0.0) for _ in range(10)] == [None] * 10
    assert throttle.wait_time(0.0) == 0.0


@pytest.mark.parametrize("kind", REJECTIONS)
def test_after_a_rejection_one_attempt_is_admitted_in_each_interval(kind: FailureKind) -> None:
    throttle = LoginThrottle()
    failure = Failure(kind, "no")
    throttle.failed(failure, 10.0)

    admitted = [at / 10 for at in range(100, 400) if throttle.admit(at / 10) is None]

    assert admitted == pytest.approx([10 + RETRY_INTERVAL * n for n in range(1, 6)])
    assert throttle.admit(40.0) is None
    assert throttle.admit(40.1) == failure
    assert throttle.wait_time(40.1) == pytest.approx(RETRY_INTERVAL - 0.1)


def test_other_failures_throttle_nothing() -> None:
    for kind in set(FailureKind) - set(REJECTIONS):
        throttle = LoginThrottle()
        throttle.failed(Failure(kind, "no"), 10.0)

        assert throttle.admit(10.0) is None, kind


def test_a_success_ends_the_throttling() -> None:
    throttle = LoginThrottle()
    throttle.failed(REJECTED, 10.0)

    assert [throttle.succeeded(), throttle.succeeded()] == [True, False]
    assert throttle.admit(10.1) is None
    assert throttle.wait_time(10.1) == 0.0


def test_a_server_that_is_gone_or_starts_ends_the_throttling() -> None:
    for kind in (FailureKind.REFUSED, FailureKind.STARTING, FailureKind.NAME):
        throttle = LoginThrottle()
        throttle.failed(REJECTED, 10.0)
        throttle.failed(Failure(kind, "no"), 15.0)

        assert throttle.admit(15.1) is None, kind


def test_a_server_that_may_have_checked_the_password_does_not() -> None:
    for kind in (FailureKind.TIMEOUT, FailureKind.RESET, FailureKind.SATURATED):
        throttle = LoginThrottle()
        throttle.failed(REJECTED, 10.0)
        assert throttle.admit(15.0) is None
        throttle.failed(Failure(kind, "no"), 15.0)

        assert throttle.admit(15.1) == REJECTED, kind
