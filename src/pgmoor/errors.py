"""The exceptions a caller can meet; all but `ConfigError` derive from psycopg's classes.

Their texts carry host names, states and figures, never a password or the conninfo.
"""

from __future__ import annotations

import psycopg
import psycopg_pool

from .health import Holder, HostHealth, PoolFigures

__all__ = [
    "CommitOutcomeUnknown",
    "ConfigError",
    "ConnectionAborted",
    "Holder",
    "ManagerClosed",
    "NoHostAvailable",
    "PoolExhausted",
    "PoolFigures",
    "TooManyRequests",
]


class ConfigError(ValueError):
    """A setting is not usable.

    Raised by the constructor, before anything is dialled. The text names the setting and the
    remedy; it never quotes the value, which may hold a secret.
    """

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
    """No connection became free in time, although the host works.

    Raised by `connection()` and `getconn()` after `timeout` seconds, and by `wait()`. `figures` is
    the pool at that instant, `holders` who has held connections longest; `manager` is the manager's
    name. `reason` is why the newest attempt to add a connection failed, in the server's words; None
    if it did not.
    """

    def __init__(
        self,
        timeout: float,
        figures: PoolFigures,
        holders: tuple[Holder, ...] = (),
        manager: str = "",
        reason: str | None = None,
    ) -> None:
        held = f"; held longest by {', '.join(map(str, holders))}" if holders else ""
        why = f"; no connection could be added: {reason}" if reason else ""
        whose = _of(manager)
        super().__init__(f"no connection{whose} free within {timeout:.2f} s: {figures}{why}{held}")
        self.timeout = timeout
        self.figures = figures
        self.holders = holders
        self.manager = manager
        self.reason = reason

    def __reduce__(self) -> tuple[type[PoolExhausted], tuple[object, ...]]:
        return type(self), (self.timeout, self.figures, self.holders, self.manager, self.reason)


class NoHostAvailable(psycopg_pool.PoolTimeout):
    """No host satisfied the target in time.

    Raised by `connection()` and `getconn()` after `timeout` seconds; at once with
    `when_down="fail"` and after the manager has given up; by `open(wait=True)`, `wait()` and
    `wait_ready()`. `hosts` holds the state and the last failure of each host.
    """

    def __init__(self, reason: str, hosts: tuple[HostHealth, ...] = ()) -> None:
        states = "; ".join(map(str, hosts))
        super().__init__(f"{reason}: {states}" if states else reason)
        self.reason = reason
        self.hosts = hosts

    def __reduce__(self) -> tuple[type[NoHostAvailable], tuple[object, ...]]:
        return type(self), (self.reason, self.hosts)


class TooManyRequests(psycopg_pool.TooManyRequests):
    """`max_waiting` callers wait already.

    Raised at once, with the pool's `figures`; `manager` is the manager's name.
    """

    def __init__(self, figures: PoolFigures, manager: str = "") -> None:
        super().__init__(f"too many callers wait for a connection{_of(manager)}: {figures}")
        self.figures = figures
        self.manager = manager

    def __reduce__(self) -> tuple[type[TooManyRequests], tuple[object, ...]]:
        return type(self), (self.figures, self.manager)


class CommitOutcomeUnknown(psycopg.OperationalError):
    """The connection was lost during COMMIT: the server may have committed or not.

    Raised by `commit()`, by the end of a `transaction()` block and by the end of
    `async with manager.connection()`. pgmoor never repeats such a transaction: find out by
    reading, or make it safe to repeat. (SQLSTATE 40003 and 08007 mean the same.)
    """


class ConnectionAborted(psycopg.OperationalError):
    """pgmoor cut this connection, because its host was left or did not answer in time.

    Carries `host` and `reason`. A statement under way may have been carried out.
    """

    def __init__(self, host: str, reason: str) -> None:
        super().__init__(f"connection to {host} was aborted: {reason}")
        self.host = host
        self.reason = reason

    def __reduce__(self) -> tuple[type[ConnectionAborted], tuple[str, str]]:
        return type(self), (self.host, self.reason)


class ManagerClosed(psycopg_pool.PoolClosed):
    """The manager is closed or not open yet, or used from another event loop or process."""
