"""The exceptions that you can meet, and whether you may repeat the work after each.

All but `ConfigError` derive from psycopg's classes. Their texts carry host names, states and
figures, never a password, the conninfo or an idempotency key.
"""

from __future__ import annotations

from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING

import psycopg
import psycopg_pool

from .health import Holder, HostHealth, PoolFigures

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "AlreadyDone",
    "CommitOutcomeUnknown",
    "ConfigError",
    "ConnectionAborted",
    "Holder",
    "ManagerClosed",
    "NoHostAvailable",
    "NotInstalled",
    "PoolExhausted",
    "PoolFigures",
    "RetrySafety",
    "TooManyRequests",
    "TransactionTimeout",
    "retry_safety",
]


class RetrySafety(StrEnum):
    """Whether you may repeat work that ended with an error; see `retry_safety()`."""

    NOTHING_SENT = "nothing sent"
    """No statement was sent to a server: you may repeat."""
    ROLLED_BACK = "rolled back"
    """The transaction, or the statement with autocommit, has no effect: you may repeat the whole.

    It may fail in the same way again, as a violated constraint does.
    """
    UNKNOWN = "unknown"
    """It may have been carried out: repeat only what may happen twice, or look first."""


class ConfigError(ValueError):
    """A setting or an argument is not usable.

    The constructor raises it, before it connects to anything. So do methods, `Retry`, `Token` and
    `Alerts` for their arguments, and `open()` for what your callables return. The text names the
    setting, the problem and the remedy. It shows a value only if that is a number: a string may be
    a secret.
    """

    retry_safety = RetrySafety.NOTHING_SENT

    def __init__(self, setting: str, problem: str, remedy: str) -> None:
        super().__init__(f"{setting}: {problem}; {remedy}")
        self.setting = setting
        self.problem = problem
        self.remedy = remedy

    def __reduce__(self) -> tuple[type[ConfigError], tuple[str, str, str]]:
        return type(self), (self.setting, self.problem, self.remedy)


def _of(manager: str) -> str:
    return f" of {manager!r}" if manager else ""


class PoolExhausted(psycopg_pool.PoolTimeout):
    """A host is in use, and no connection became free in time.

    `connection()`, `getconn()` and `wait()` raise it after `timeout` seconds. `figures` shows the
    pool at that instant, `holders` the tasks that have held connections longest, `manager` the
    manager's name. `reason` is why no connection could be added; None if the pool is full. `wanted`
    is how many connections `wait()` has waited for, else None. Return connections sooner, or raise
    `max_size`.
    """

    retry_safety = RetrySafety.NOTHING_SENT

    def __init__(
        self,
        timeout: float,
        figures: PoolFigures,
        holders: tuple[Holder, ...] = (),
        manager: str = "",
        reason: str | None = None,
        *,
        wanted: int | None = None,
    ) -> None:
        held = f"; held longest by {', '.join(map(str, holders))}" if holders else ""
        why = f"; no connection could be added: {reason}" if reason else ""
        whose = _of(manager)
        what = f"no connection{whose} free within {timeout:.2f} s"
        if wanted is not None:
            what = f"{figures.size} of {wanted} connections{whose} made within {timeout:.2f} s"
        super().__init__(f"{what}: {figures}{why}{held}")
        self.timeout = timeout
        self.figures = figures
        self.holders = holders
        self.manager = manager
        self.reason = reason
        self.wanted = wanted

    def __reduce__(self) -> tuple[Callable[..., PoolExhausted], tuple[object, ...]]:
        given = (self.timeout, self.figures, self.holders, self.manager, self.reason)
        return partial(type(self), wanted=self.wanted), given


class NoHostAvailable(psycopg_pool.PoolTimeout):
    """No host satisfied the target in time, or the host in use gave no connection.

    `connection()` and `getconn()` raise it after `timeout` seconds, or at once with
    `when_down="fail"` during an outage and after the manager has given up. So do `run()`,
    `transaction()`, `open(wait=True)`, `wait()` and `wait_ready()`. `hosts` shows the state and the
    last failure of each host.
    """

    retry_safety = RetrySafety.NOTHING_SENT

    def __init__(self, reason: str, hosts: tuple[HostHealth, ...] = ()) -> None:
        states = "; ".join(map(str, hosts))
        super().__init__(f"{reason}: {states}" if states else reason)
        self.reason = reason
        self.hosts = hosts

    def __reduce__(self) -> tuple[type[NoHostAvailable], tuple[object, ...]]:
        return type(self), (self.reason, self.hosts)


class TooManyRequests(psycopg_pool.TooManyRequests):
    """`max_waiting` callers wait already.

    `connection()` raises it at once. `figures` shows the pool, `manager` the manager's name.
    """

    retry_safety = RetrySafety.NOTHING_SENT

    def __init__(self, figures: PoolFigures, manager: str = "") -> None:
        super().__init__(
            f"too many callers (max_waiting) wait for a connection{_of(manager)}: {figures}"
        )
        self.figures = figures
        self.manager = manager

    def __reduce__(self) -> tuple[type[TooManyRequests], tuple[object, ...]]:
        return type(self), (self.figures, self.manager)


class CommitOutcomeUnknown(psycopg.OperationalError):
    """The connection was lost during COMMIT: the server may have committed or not.

    `conn.commit()` raises it, and so does the end of a block of `conn.transaction()` or
    `manager.connection()`. `manager.run()` and `manager.transaction()` first ask the server what
    happened, and raise it only if they can't find out in time. pgmoor never repeats such a
    transaction: find out by reading, or make it safe to repeat. (SQLSTATE 40003 and 08007 mean the
    same.)
    """

    retry_safety = RetrySafety.UNKNOWN


class ConnectionAborted(psycopg.OperationalError):
    """The manager cut this connection, because it left the host or got no answer in time.

    Carries `host` and `reason`. The server may have carried out the statement under way;
    `retry_safety` tells whether it was in a transaction that is now rolled back.
    """

    retry_safety: RetrySafety = RetrySafety.UNKNOWN

    def __init__(self, host: str, reason: str) -> None:
        super().__init__(f"connection to {host} was aborted: {reason}")
        self.host = host
        self.reason = reason

    def __reduce__(self) -> tuple[type[ConnectionAborted], tuple[str, str], dict[str, object]]:
        noted = {name: value for name, value in vars(self).items() if name == "retry_safety"}
        return type(self), (self.host, self.reason), noted


class ManagerClosed(psycopg_pool.PoolClosed):
    """The manager is closed or not open yet, or used from another event loop or process."""

    retry_safety = RetrySafety.NOTHING_SENT


class TransactionTimeout(psycopg.OperationalError):
    """The `timeout` was over, in seconds, while a transaction ran; it was rolled back.

    `run()`, `transactional()`, `transaction()` and `retrying()` raise it. Its cause is the error
    that ended the previous attempt, if there was one.
    """

    retry_safety = RetrySafety.ROLLED_BACK

    def __init__(self, timeout: float, attempts: int) -> None:
        tries = f"; this was attempt {attempts}" if attempts > 1 else ""
        super().__init__(
            f"the transaction did not end within {timeout:g} s and is rolled back{tries}"
        )
        self.timeout = timeout
        self.attempts = attempts

    def __reduce__(self) -> tuple[type[TransactionTimeout], tuple[float, int]]:
        return type(self), (self.timeout, self.attempts)


class AlreadyDone(psycopg.IntegrityError):
    """Another call of `run()` with this idempotency key has committed already.

    This call did nothing. `key` is the key. Give the same answer as then: read it, or store it in
    the same transaction.
    """

    retry_safety = RetrySafety.ROLLED_BACK

    def __init__(self, key: str) -> None:
        super().__init__("a transaction with this idempotency key has committed before")
        self.key = key

    def __reduce__(self) -> tuple[type[AlreadyDone], tuple[str]]:
        return type(self), (self.key,)


class NotInstalled(psycopg.ProgrammingError):
    """`run(key=...)` can't use the table `pgmoor.transactions`: it is missing, or not granted.

    Create it once with `await manager.install()`, or have an administrator run the SQL that
    `pgmoor install --sql` prints.
    """

    retry_safety = RetrySafety.ROLLED_BACK


# The server, or libpq, says itself that the outcome is not known.
_OUTCOME_UNKNOWN = frozenset({"40003", "08007"})
# A login was refused: no statement was sent.
_LOGIN_REFUSED = frozenset({"08001", "08004", "28000", "28P01", "3D000", "53300", "57P03"})
# The session was ended while it was idle, in a transaction or not.
_ENDED_IDLE = frozenset({"25P03", "57P05"})
_SESSION_ENDED = frozenset({"57P01", "57P02", "57P04", "25P04"})


def retry_safety(error: BaseException) -> RetrySafety:
    """Return whether you may repeat the work that ended with *error*.

    It knows the errors of pgmoor and psycopg; any other is `UNKNOWN`. A lost connection of a
    manager is `ROLLED_BACK` in a transaction that had not begun to commit. It is `UNKNOWN` during
    COMMIT (as a statement, too), with autocommit, and in pipeline mode. A lost connection that is
    not a manager's is always `UNKNOWN`.

    An error that a server reports is `ROLLED_BACK`. With autocommit this is wrong for a procedure
    that commits, and for several statements in one string.
    """
    noted = getattr(error, "retry_safety", None)
    if isinstance(noted, RetrySafety):
        return noted
    pool_errors = (psycopg_pool.PoolTimeout, psycopg_pool.PoolClosed, psycopg_pool.TooManyRequests)
    if isinstance(error, pool_errors):
        return RetrySafety.NOTHING_SENT
    if not isinstance(error, psycopg.Error):
        return RetrySafety.UNKNOWN
    if error.pgconn is not None or isinstance(error, psycopg.errors.ConnectionTimeout):
        return RetrySafety.NOTHING_SENT  # the connection was never made
    return _safety_of_sqlstate(error.sqlstate)


def _safety_of_sqlstate(sqlstate: str | None) -> RetrySafety:
    if sqlstate is None or sqlstate in _OUTCOME_UNKNOWN:
        return RetrySafety.UNKNOWN
    if sqlstate in _LOGIN_REFUSED:
        return RetrySafety.NOTHING_SENT
    if sqlstate in _ENDED_IDLE:
        return RetrySafety.ROLLED_BACK
    if sqlstate[:2] == "08" or sqlstate in _SESSION_ENDED:
        return RetrySafety.UNKNOWN
    return RetrySafety.ROLLED_BACK
