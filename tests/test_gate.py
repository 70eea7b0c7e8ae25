"""One attempt each 5 s at a host that turns us away."""

from __future__ import annotations

import pytest

from pgmoor.gate import SLOW_DELAY, Gate
from pgmoor.sqlstate import Failure, FailureKind

WRONG_PASSWORD = Failure(FailureKind.CREDENTIALS, "password authentication failed")


def test_nothing_is_held_up_at_first() -> None:
    gate = Gate()

    assert [gate.admit(0.0) for _ in range(10)] == [None] * 10
    assert gate.shut_for(0.0) == 0.0


@pytest.mark.parametrize("kind", [FailureKind.CREDENTIALS, FailureKind.CONFIGURATION])
def test_after_a_rejection_one_attempt_is_made_in_each_interval(kind: FailureKind) -> None:
    gate = Gate()
    failure = Failure(kind, "no")
    gate.failed(failure, 10.0)

    admitted = [at / 10 for at in range(100, 400) if gate.admit(at / 10) is None]

    assert admitted == pytest.approx([10 + SLOW_DELAY * n for n in range(1, 6)])
    assert gate.admit(40.0) is None
    assert gate.admit(40.1) == failure
    assert gate.shut_for(40.1) == pytest.approx(SLOW_DELAY - 0.1)


@pytest.mark.parametrize(
    "kind",
    [k for k in FailureKind if k not in (FailureKind.CREDENTIALS, FailureKind.CONFIGURATION)],
)
def test_other_failures_hold_nobody_up(kind: FailureKind) -> None:
    gate = Gate()
    gate.failed(Failure(kind, "no"), 10.0)

    assert gate.admit(10.0) is None


def test_success_opens_it() -> None:
    gate = Gate()
    gate.failed(WRONG_PASSWORD, 10.0)

    assert gate.passed()
    assert not gate.passed()
    assert gate.admit(10.1) is None
    assert gate.shut_for(10.1) == 0.0


@pytest.mark.parametrize("kind", [FailureKind.REFUSED, FailureKind.STARTING, FailureKind.NAME])
def test_a_server_that_begins_anew_opens_it(kind: FailureKind) -> None:
    gate = Gate()
    gate.failed(WRONG_PASSWORD, 10.0)
    gate.failed(Failure(kind, "no"), 15.0)

    assert gate.admit(15.1) is None


@pytest.mark.parametrize("kind", [FailureKind.TIMEOUT, FailureKind.RESET, FailureKind.SATURATED])
def test_a_server_that_may_have_looked_at_the_password_does_not(kind: FailureKind) -> None:
    gate = Gate()
    gate.failed(WRONG_PASSWORD, 10.0)
    assert gate.admit(15.0) is None
    gate.failed(Failure(kind, "no"), 15.0)

    assert gate.admit(15.1) == WRONG_PASSWORD
