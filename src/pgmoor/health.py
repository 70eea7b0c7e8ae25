"""What a manager reports about itself: readiness, state, hosts and pool.

Plain records. The manager fills them from memory, without a round trip or a pool slot.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Literal

__all__ = [
    "Health",
    "Holder",
    "HostHealth",
    "PoolFigures",
    "RepeatFigures",
    "Role",
    "State",
    "Status",
]


class Role(StrEnum):
    """What a server is in its cluster, in libpq's words."""

    UNKNOWN = "unknown"
    PRIMARY = "primary"
    STANDBY = "standby"


class Status(StrEnum):
    """Whether a host can be used, by the newest evidence."""

    UNKNOWN = "unknown"
    """It has not been probed yet, or too long ago."""
    UP = "up"
    """It answers."""
    STARTING = "starting"
    """It answers that it does not accept connections yet, or any more."""
    REJECTED = "rejected"
    """It answers, and rejects our credentials or configuration."""
    SILENT = "silent"
    """It has not answered, twice in a row."""
    DOWN = "down"
    """It refuses or resets connections, or its name does not resolve."""


class State(StrEnum):
    """What the manager is doing."""

    NEW = "new"
    """It is not opened."""
    STARTING = "starting"
    """It is opened; no host has been chosen yet."""
    READY = "ready"
    """A host is in use."""
    STALLED = "stalled"
    """The host in use is silent, and has `stall_timeout` to answer."""
    QUIET = "quiet"
    """It was unused for `quiet_after`, and holds no connections; the next caller wakes it."""
    SEARCHING = "searching"
    """The host in use was left; the next one is being chosen."""
    OUTAGE = "outage"
    """No host qualifies; the manager keeps trying to reconnect."""
    GAVE_UP = "gave up"
    """`max_tries` or `max_time` is used up; `reconnect()` starts a new search."""
    CLOSED = "closed"
    """It is closed."""


SERVING = frozenset({State.READY, State.STALLED, State.QUIET})  # callers get connections
WAY_OUT = "if nobody is on it any more, call reconnect(forget_timelines=True)"
SATURATED = "all connections are in use and callers wait"


@dataclass(frozen=True, slots=True)
class Holder:
    """A task that holds a connection, and for how many seconds it has held it."""

    task: str
    seconds: float

    def __str__(self) -> str:
        return f"{self.task} for {self.seconds:.1f} s"


@dataclass(frozen=True, slots=True)
class PoolFigures:
    """The pool at one instant: connections in all, in use and idle; waiting callers; its limits.

    `kept` is how many connections may stay idle.
    """

    size: int = 0
    used: int = 0
    idle: int = 0
    waiting: int = 0
    min_size: int = 0
    max_size: int = 0
    max_overflow: int = 0
    kept: int = 0

    @property
    def saturated(self) -> bool:
        """Whether callers wait because all connections are in use."""
        limit = self.max_size + self.max_overflow
        return self.waiting > 0 and not self.idle and self.used >= limit

    def __str__(self) -> str:
        overflow = f"+{self.max_overflow}" if self.max_overflow else ""
        return (
            f"size {self.size} of {self.max_size}{overflow}, used {self.used}, idle {self.idle},"
            f" waiting {self.waiting}"
        )


@dataclass(frozen=True, slots=True)
class RepeatFigures:
    """The budget for repeating transactions.

    `left` is how many repeats it allows now. `repeats` counts those made, `refused` those not
    allowed, since the manager was opened.
    """

    left: float = 0.0
    repeats: int = 0
    refused: int = 0


@dataclass(frozen=True, slots=True)
class HostHealth:
    """One host in a report; durations in seconds.

    `status` and `role` are values of `Status` and `Role`. `current`: it is the host in use.
    `writable`: it accepts writes, as far as it said. `latency` is the time of its last answer,
    `lag` how far a standby is behind in replaying. `stale`: it claims to be primary on a superseded
    timeline; `stale_because` says which host the newer one was seen on, and when. `failure` is the
    text of the newest failure, None after an answer; `failure_kind` its kind, such as "refused".
    `age` is the time since the last probe, None before the first. `pooled`: a pooler such as
    PgBouncer stands in front of the server; None if unknown.
    """

    host: str
    status: str
    role: str
    writable: bool | None
    timeline: int | None
    latency: float | None
    lag: float | None
    current: bool
    stale: bool
    failure: str | None
    age: float | None = None
    pooled: bool | None = None
    failure_kind: str | None = None
    stale_because: str | None = None

    @property
    def role_label(self) -> str:
        """The role in a word or two, such as "standby" or "stale primary"."""
        return "stale primary" if self.stale else role_label(self.role, self.writable)

    def __str__(self) -> str:
        if self.failure or self.status != Status.UP.value:
            reason = f" ({self.failure})" if self.failure else ""
            return f"{self.host} {status_label(self.status)}{reason}"
        because = f": {self.stale_because}; {WAY_OUT}" if self.stale_because else ""
        return f"{self.host} is {self.status} ({self.role_label}{because})"


def status_label(status: str) -> str:
    """Return a host's status in words, from a value of `Status`, such as "is down"."""
    return _LABELS.get(status, f"is {status}")


_LABELS = {
    Status.REJECTED.value: "rejects our login",
    Status.STARTING.value: "accepts no connections",
    Status.UNKNOWN.value: "has not answered yet",
}


def role_label(role: str, writable: bool | None) -> str:
    """Return a server's role in a word or two, from a value of `Role` and what it accepts."""
    if role == Role.PRIMARY.value and writable is False:
        return "read-only primary"
    if role == Role.UNKNOWN.value and writable is not None:
        return "writable" if writable else "read-only"
    return role


@dataclass(frozen=True, slots=True)
class Health:
    """The manager's condition at one instant.

    `live`: the manager's background tasks run. It is false when the manager is closed, was never
    opened or has failed, and never depends on the database: a restart of your program would not
    repair that. `ready`: you can expect a connection now. `status`: pass, warn (it serves, and
    something needs attention) or fail; `reason` says why, or what it does. `state` is a value of
    `State`, `since` how many seconds it has lasted. `name` is the manager's; `at` is in seconds
    since the epoch.
    """

    live: bool
    ready: bool
    status: Literal["pass", "warn", "fail"]
    state: str
    reason: str
    since: float
    pool: PoolFigures
    hosts: tuple[HostHealth, ...]
    name: str = ""
    at: float = field(default_factory=time.time)
    repeats: RepeatFigures = field(default_factory=RepeatFigures)

    def to_dict(self, *, details: bool = True) -> dict[str, Any]:
        """Return plain values; `details=False` leaves out hosts, figures and error texts."""
        if not details:
            return {
                "status": self.status,
                "live": self.live,
                "ready": self.ready,
                "state": self.state,
                "since": round(self.since, 3),
            }
        return asdict(self)
