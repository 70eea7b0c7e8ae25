"""What follows from an error, and what a transaction's status proves. Pure."""

from __future__ import annotations

from dataclasses import replace

import pytest
from psycopg import errors

from pgmoor import (
    AlreadyDone,
    CommitOutcomeUnknown,
    NoHostAvailable,
    NotInstalled,
    Retry,
    RetrySafety,
    TransactionTimeout,
)
from pgmoor._core.connection.loss import note
from pgmoor._core.work.retry import Budget
from pgmoor._core.work.verdict import Fate, Next, ServerRun, after, fate_of

RAISE, REPEAT, RESOLVE = Next
COMMITTED, ROLLED_BACK, RUNNING, UNDECIDED = Fate

THEN = ServerRun("7712", 2, started="100.5", reset="100.4")
CRASHED = replace(THEN, reset="200.0")
RESTARTED = replace(THEN, started="200.0")
PROMOTED = replace(THEN, timeline=3, started="50.0")


@pytest.mark.parametrize(
    ("status", "now", "fate"),
    [
        ("committed", THEN, COMMITTED),
        ("aborted", THEN, ROLLED_BACK),
        ("in progress", THEN, RUNNING),
        (None, THEN, UNDECIDED),  # so long ago that the server has forgotten it
        # The id may have been given to another transaction, which committed.
        ("committed", CRASHED, UNDECIDED),
        ("committed", RESTARTED, UNDECIDED),
        ("committed", PROMOTED, UNDECIDED),
        # Had the server the record of our commit, it would say so.
        *[
            (status, now, ROLLED_BACK)
            for status in ("aborted", "in the future", "in progress")
            for now in (CRASHED, RESTARTED, PROMOTED)
        ],
        # These servers can't tell.
        ("aborted", replace(THEN, timeline=1), UNDECIDED),
        ("aborted", replace(PROMOTED, in_recovery=True), UNDECIDED),
        ("aborted", replace(PROMOTED, system_id="8000"), UNDECIDED),
        ("aborted", ServerRun(), UNDECIDED),
    ],
)
def test_what_a_status_proves(status: str | None, now: ServerRun, fate: Fate) -> None:
    assert fate_of(status, THEN, now) is fate
    assert fate_of(status, ServerRun(), now) is UNDECIDED


def lost(error: errors.Error, safety: RetrySafety = RetrySafety.ROLLED_BACK) -> errors.Error:
    return note(error, safety)


@pytest.mark.parametrize(
    ("error", "is_lost", "follows"),
    [
        (errors.SerializationFailure(), False, REPEAT),
        (errors.DeadlockDetected(), False, REPEAT),
        (errors.LockNotAvailable(), False, RAISE),
        (errors.ReadOnlySqlTransaction(), False, REPEAT),
        (errors.UniqueViolation(), True, RAISE),
        (errors.QueryCanceled(), False, RAISE),
        (lost(errors.OperationalError()), True, REPEAT),
        (lost(errors.AdminShutdown()), True, REPEAT),
        (lost(errors.ConnectionFailure()), True, REPEAT),
        (lost(errors.OperationalError(), RetrySafety.UNKNOWN), True, RESOLVE),
        (lost(errors.OperationalError()), False, RAISE),  # of another connection
        (lost(errors.ProgrammingError()), True, RAISE),
        (lost(errors.IdleInTransactionSessionTimeout()), True, RAISE),  # a repeat would, too
        (CommitOutcomeUnknown(), False, RAISE),  # of another connection
        (NoHostAvailable("none"), False, RAISE),
        (AlreadyDone("key"), False, RAISE),
        (NotInstalled(), False, RAISE),
        (TransactionTimeout(1, 1), False, RAISE),
        (ValueError(), True, RAISE),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_what_follows_from_an_error(error: Exception, is_lost: bool, follows: Next) -> None:
    found = after(error, Retry(), lost=is_lost, committing=False, writes=True)
    assert found is follows


def test_what_follows_depends_on_what_was_done() -> None:
    unknown, refused = CommitOutcomeUnknown(), errors.ReadOnlySqlTransaction()
    assert after(unknown, Retry(), lost=True, committing=True, writes=True) is RESOLVE
    assert after(refused, Retry(), lost=False, committing=False, writes=False) is RAISE
    busy = errors.LockNotAvailable()
    retry = Retry(lock_not_available=True)
    assert after(busy, retry, lost=False, committing=False, writes=True) is REPEAT


def test_the_budget_allows_a_tenth_in_the_long_run_and_never_holds_more_than_its_most() -> None:
    budget = Budget(connections=30)
    assert budget.most == 300
    assert sum(budget.take(Retry()) for _ in range(1000)) == 300
    assert (budget.repeats, budget.refused) == (300, 700)
    for _ in range(11):
        budget.deposit()
    assert [budget.take(Retry()), budget.take(Retry())] == [True, False]
    assert budget.take(Retry(budget=None))
    for _ in range(10_000):
        budget.deposit()
    assert budget.tokens == budget.most
