"""What happened, as frozen records. `str(event)` is the sentence that logs and pages show.

You get them from `subscribe()`, `events()` and `on_event` of a manager.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, fields
from typing import Any

__all__ = [
    "Awoke",
    "ClusterRebuilt",
    "Connected",
    "DialFailed",
    "Event",
    "Failback",
    "FailbackPostponed",
    "Failover",
    "FellQuiet",
    "ForeignHost",
    "GaveUp",
    "HeldTooLong",
    "HostDown",
    "HostUp",
    "HostsChanged",
    "OutageEnded",
    "OutageStarted",
    "PoolSaturated",
    "ReconnectFailed",
    "RoleChanged",
    "SplitBrain",
    "StallEnded",
    "Stalled",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened to *manager* (its name), at *at* (seconds since the epoch)."""

    manager: str = ""
    at: float = field(default_factory=time.time)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, with the name of the event's class under "event"."""
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        return {"event": type(self).__name__, **values}


@dataclass(frozen=True, slots=True, kw_only=True)
class HostUp(Event):
    """A host answers, for the first time or again after *down_for* seconds."""

    host: str
    role: str
    down_for: float | None = None

    def __str__(self) -> str:
        again = "" if self.down_for is None else f" again after {self.down_for:.2f} s"
        return f"{self.host} is up{again}: {self.role}"


@dataclass(frozen=True, slots=True, kw_only=True)
class HostDown(Event):
    """A host can't be used: *status* is down, silent, starting, rejected or unknown."""

    host: str
    status: str
    reason: str

    def __str__(self) -> str:
        return f"{self.host} {_LABELS.get(self.status, f'is {self.status}')}: {self.reason}"


_LABELS = {
    "rejected": "rejects our login",
    "starting": "accepts no connections",
    "unknown": "can't be used",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleChanged(Event):
    """A host changed its role, or began or stopped accepting writes."""

    host: str
    before: str
    after: str

    def __str__(self) -> str:
        return f"{self.host} was {self.before} and is now {self.after}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitBrain(Event):
    """A host claims to be primary on a superseded timeline, or on that of another primary.

    The manager does not use it. Writes that others send to it will be lost.
    """

    host: str
    timeline: int
    newest_timeline: int

    def __str__(self) -> str:
        rival = (
            "so does the host in use"
            if self.timeline == self.newest_timeline
            else f"timeline {self.newest_timeline} is newer"
        )
        return (
            f"split brain: {self.host} claims to be primary on timeline {self.timeline},"
            f" but {rival}; it is not used"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignHost(Event):
    """A host belongs to another database cluster: the host list is wrong."""

    host: str

    def __str__(self) -> str:
        return f"{self.host} belongs to another database cluster; remove it from the list"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterRebuilt(Event):
    """The hosts, or those that answer, now belong to another database cluster.

    This happens after `pg_upgrade`, or a restore into new servers. The manager no longer uses hosts
    of the old cluster.
    """

    host: str

    def __str__(self) -> str:
        return f"the database cluster was rebuilt; now using {self.host} of the new one"


@dataclass(frozen=True, slots=True, kw_only=True)
class HostsChanged(Event):
    """Your callable for `hosts` returned another list; *hosts* is the whole list, in its order."""

    hosts: tuple[str, ...]
    added: tuple[str, ...]
    gone: tuple[str, ...]

    def __str__(self) -> str:
        return f"the list of hosts is now {', '.join(self.hosts)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Connected(Event):
    """The manager chose its first host, *seconds* after it was opened."""

    host: str
    seconds: float

    def __str__(self) -> str:
        return f"connected to {self.host} after {self.seconds:.2f} s"


@dataclass(frozen=True, slots=True, kw_only=True)
class Failover(Event):
    """The manager moved all callers from one host to another.

    *seconds* counts from the first sign of trouble. If it found the other host before any trouble,
    it counts from the last answer of the old host.
    """

    before: str
    after: str
    reason: str
    seconds: float

    def __str__(self) -> str:
        return (
            f"failed over from {self.before} to {self.after} in {self.seconds:.3f} s: {self.reason}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Failback(Event):
    """Callers move back to a preferred host, each when it returns its connection."""

    before: str
    after: str

    def __str__(self) -> str:
        return f"failing back from {self.before} to the preferred {self.after}"


@dataclass(frozen=True, slots=True, kw_only=True)
class FailbackPostponed(Event):
    """Callers stay where they are: the preferred host accepted too few connections.

    *made* of the *wanted* connections were made, and are closed again. *wanted* is the number of
    callers who have or want a connection, `min_size` at most. The next attempt comes after
    *retry_after* seconds, twice as many each time; None with `failback="manual"`.
    """

    host: str
    made: int
    wanted: int
    reason: str
    retry_after: float | None

    def __str__(self) -> str:
        again = (
            "call failback() to try again"
            if self.retry_after is None
            else f"next try in {self.retry_after:.0f} s"
        )
        return (
            f"failback to {self.host} postponed: {self.made} of {self.wanted} connections made,"
            f" {self.reason}; {again}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class OutageStarted(Event):
    """No host qualifies; callers wait while the manager tries to reconnect."""

    reason: str

    def __str__(self) -> str:
        return f"no host qualifies: {self.reason}"


@dataclass(frozen=True, slots=True, kw_only=True)
class OutageEnded(Event):
    """A host qualifies again, *seconds* after the outage began.

    It began when the manager left the last host, was opened or was woken.
    """

    host: str
    seconds: float

    def __str__(self) -> str:
        return f"{self.host} qualifies after {self.seconds:.2f} s without a host"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stalled(Event):
    """The host in use does not answer, and no other qualifies; it has `stall_timeout` to answer."""

    host: str

    def __str__(self) -> str:
        return f"{self.host} does not answer, and no other host qualifies; waiting for it"


@dataclass(frozen=True, slots=True, kw_only=True)
class StallEnded(Event):
    """The host in use answers again, *seconds* after it fell silent."""

    host: str
    seconds: float

    def __str__(self) -> str:
        return f"{self.host} answers again after {self.seconds:.2f} s"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReconnectFailed(Event):
    """No host has qualified for `reconnect_timeout`; the search goes on."""

    seconds: float

    def __str__(self) -> str:
        return f"no host has qualified for {self.seconds:.1f} s; still searching"


@dataclass(frozen=True, slots=True, kw_only=True)
class GaveUp(Event):
    """`max_tries` or `max_time` is used up; `reconnect()` starts a new search."""

    tries: int
    seconds: float

    def __str__(self) -> str:
        tries = "1 try" if self.tries == 1 else f"{self.tries} tries"
        return f"gave up after {tries} in {self.seconds:.1f} s; reconnect() starts a new search"


@dataclass(frozen=True, slots=True, kw_only=True)
class DialFailed(Event):
    """The pool could not make a connection; it tries again with backoff."""

    host: str
    kind: str
    reason: str

    def __str__(self) -> str:
        return f"can't add a connection to {self.host}: {self.reason}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolSaturated(Event):
    """Callers get no connection in time, or may not wait, although a host is in use.

    Emitted at most once a minute; *refused* counts the callers since the last event. *max_size* is
    the most connections that the pool makes, overflow included.
    """

    refused: int
    used: int
    waiting: int
    max_size: int
    holders: str

    def __str__(self) -> str:
        callers = "1 caller" if self.refused == 1 else f"{self.refused} callers"
        return (
            f"the pool is exhausted: {self.used} of {self.max_size} connections in use,"
            f" {self.waiting} waiting; {callers} got none"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldTooLong(Event):
    """A connection has been held for longer than `held_warning`; *stack* is its holder's."""

    task: str
    seconds: float
    stack: str

    def __str__(self) -> str:
        return f"a connection has been held for {self.seconds:.1f} s by {self.task}"


@dataclass(frozen=True, slots=True, kw_only=True)
class FellQuiet(Event):
    """Nobody has used the manager for `quiet_after`: it holds no connection and probes no host."""

    seconds: float

    def __str__(self) -> str:
        return (
            f"unused for {self.seconds:.0f} s: closed all connections and stopped probing until the"
            " next caller"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Awoke(Event):
    """A quiet manager uses a host again, *seconds* after a caller wanted a connection."""

    host: str
    seconds: float

    def __str__(self) -> str:
        return f"awake again: connected to {self.host} after {self.seconds:.2f} s"
