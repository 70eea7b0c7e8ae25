"""What follows from an error, and from what a server says of a transaction. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING

from psycopg import errors

from pgmoor._core.hosts.failures import READ_ONLY_SQL_TRANSACTION
from pgmoor.errors import CommitOutcomeUnknown, RetrySafety, retry_safety

if TYPE_CHECKING:
    from .retry import Retry

CONFLICTS = frozenset({"40001", "40P01"})  # serialization failure, deadlock
LOCK_NOT_AVAILABLE = "55P03"
# How a session ends that its server or the network has ended. Not by a timeout that applies to it:
# a repeat would meet that, too.
_LOST = frozenset({None, "57P01", "57P02"})


class Next(Enum):
    """What to do about an error."""

    RAISE = auto()
    REPEAT = auto()
    RESOLVE = auto()


def after(  # noqa: PLR0911  one for each rule
    error: BaseException,
    retry: Retry,
    *,
    lost: bool,
    committing: bool,
    writes: bool,
) -> Next:
    """Return what to do about the error that ended an attempt.

    *lost*: its connection is closed. *committing*: the error is that of its COMMIT. *writes*: the
    transaction may write, and the manager looks for hosts that can.
    """
    if not isinstance(error, errors.Error):
        return Next.RAISE
    safety, sqlstate = retry_safety(error), error.sqlstate
    if safety is RetrySafety.NOTHING_SENT:
        return Next.RAISE  # the checkout has waited as long as it may
    if committing and isinstance(error, CommitOutcomeUnknown):
        return Next.RESOLVE
    if sqlstate in CONFLICTS:
        return Next.REPEAT
    if sqlstate == LOCK_NOT_AVAILABLE:
        return Next.REPEAT if retry.lock_not_available else Next.RAISE
    if sqlstate == READ_ONLY_SQL_TRANSACTION:
        return Next.REPEAT if writes else Next.RAISE
    by_loss = isinstance(error, errors.OperationalError | errors.InterfaceError) and (
        sqlstate in _LOST or str(sqlstate).startswith("08")
    )
    if not (lost and by_loss):
        return Next.RAISE
    return Next.REPEAT if safety is RetrySafety.ROLLED_BACK else Next.RESOLVE


@dataclass(frozen=True, slots=True)
class ServerRun:
    """One run of one server: no transaction id is given twice in it.

    After a crash an id whose traces were not on disk yet is given to another transaction, on the
    same timeline. A server that has crashed resets its statistics, even if its postmaster lives on.
    """

    system_id: str | None = None
    timeline: int | None = None
    started: str | None = None
    reset: str | None = None
    in_recovery: bool = False


class Fate(Enum):
    """What became of a transaction whose COMMIT was not answered."""

    COMMITTED = auto()
    ROLLED_BACK = auto()
    RUNNING = auto()
    UNDECIDED = auto()


def fate_of(status: str | None, then: ServerRun, now: ServerRun) -> Fate:
    """Return what a transaction's status proves, asked of *now*, for one that ran on *then*.

    *status* is that of `pg_xact_status()`, or "in the future", as the error says. Had a server the
    record of the commit, the status would be "committed"; so any other status proves that this
    server's history lacks it. "committed" proves the contrary only while the id can't be another's.
    """
    known = None not in (then.system_id, then.timeline, now.timeline)
    if not known or now.in_recovery or now.system_id != then.system_id:
        return Fate.UNDECIDED
    assert then.timeline is not None
    assert now.timeline is not None
    if status is None or now.timeline < then.timeline:
        return Fate.UNDECIDED
    if now == then:
        if status == "in progress":
            return Fate.RUNNING
        if status == "committed":
            return Fate.COMMITTED
    elif status == "committed":
        return Fate.UNDECIDED
    return Fate.ROLLED_BACK
