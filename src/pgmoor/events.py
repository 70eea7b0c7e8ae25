"""What happened, as frozen records; who hears of it is the business of `listeners`."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, fields
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened to a manager, named, at *at* (seconds since the epoch)."""

    manager: str = ""
    at: float = field(default_factory=time.time)

    def to_dict(self) -> dict[str, Any]:
        """Return the event as plain values, with its kind under "event"."""
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        return {"event": type(self).__name__, **values}


@dataclass(frozen=True, slots=True, kw_only=True)
class HostUp(Event):
    """A host answers, for the first time or again after *down_for* seconds."""

    host: str
    role: str
    down_for: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HostDown(Event):
    """A host can't be used: *status* is down, silent, starting or rejected."""

    host: str
    status: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleChanged(Event):
    """A host changed its role or stopped or began accepting writes."""

    host: str
    before: str
    after: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitBrain(Event):
    """A host claims to be primary on a timeline that was left, or on that of another primary.

    It is not used.

    Writes that others send to it will be lost.
    """

    host: str
    timeline: int
    newest_timeline: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignHost(Event):
    """A host belongs to another database cluster: the host list is wrong."""

    host: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HostsChanged(Event):
    """The callable for `hosts` gave another list; *hosts* is the whole of it, in its order."""

    hosts: tuple[str, ...]
    added: tuple[str, ...]
    gone: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Connected(Event):
    """The first host was chosen, *seconds* after the manager was opened."""

    host: str
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Failover(Event):
    """Everyone was moved from one host to another.

    *seconds* counts from the first sign of trouble, or from the last answer of the host that was
    left where another was found before it was missed.
    """

    before: str
    after: str
    reason: str
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Failback(Event):
    """Everyone is moved back to a preferred host as connections come back."""

    before: str
    after: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OutageStarted(Event):
    """No host qualifies; callers wait, and the reconnect coroutine is at work."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OutageEnded(Event):
    """A host qualifies again, *seconds* after the last one was left."""

    host: str
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Stalled(Event):
    """The host in use does not answer, and there is no other; it is given `stall_timeout`."""

    host: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StallEnded(Event):
    """The host in use answers again, *seconds* after it fell silent."""

    host: str
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ReconnectFailed(Event):
    """No host has qualified for `reconnect_timeout`; the search goes on."""

    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class GaveUp(Event):
    """`max_tries` or `max_time` is used up; `reconnect()` starts anew."""

    tries: int
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DialFailed(Event):
    """A connection for the pool could not be made; tried again with backoff."""

    host: str
    kind: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolSaturated(Event):
    """Callers get no connection in time, or may not wait, although the host works.

    Emitted at most once a minute; *refused* is how many there were since the last one.
    """

    refused: int
    used: int
    waiting: int
    max_size: int
    holders: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldTooLong(Event):
    """A connection has been checked out for longer than `held_warning`; with the holder's stack."""

    task: str
    seconds: float
    stack: str
