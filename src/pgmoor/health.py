"""The `Health` report: what a readiness probe, a page or a person wants to know.

It is built from what is in memory; no round trip, no pool slot.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any, Literal

from .errors import PoolFigures
from .hosts import HostState, Status

if TYPE_CHECKING:
    from .config import Settings
    from .http._health import Check, Format, Rendering


class State(Enum):
    """What the manager is about."""

    NEW = "new"  # not opened
    STARTING = "starting"  # opened; no host has been chosen yet
    READY = "ready"
    STALLED = "stalled"  # the host in use is silent, and is given `stall_timeout`
    SEARCHING = "searching"  # the host in use was left; the next one is being chosen
    OUTAGE = "outage"  # no host qualifies; the reconnect coroutine is at work
    GAVE_UP = "gave up"  # max_tries or max_time is used up
    CLOSED = "closed"


SERVING = frozenset({State.READY, State.STALLED})
SATURATED = "all connections are in use and callers wait"


@dataclass(frozen=True, slots=True)
class HostHealth:
    """One host as a report shows it; durations in seconds.

    `age` is how long ago the host was asked last, None if it never was. `pooled` tells
    whether a pooler such as PgBouncer stands before the server, None where that can't be told.
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


@dataclass(frozen=True, slots=True)
class Health:
    """The manager's condition at one instant.

    `live`: the manager's own tasks run; false only when it is closed or broken. It never depends
    on the database, so that an orchestrator does not restart a program whose database is away.
    `ready`: a connection can be expected now. `status`: pass, warn (it serves, and something needs
    attention) or fail. `since` is the number of seconds that `state` has held. `name` is the
    manager's, `at` the instant in seconds since the epoch.
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

    def to_dict(self, *, details: bool = True) -> dict[str, Any]:
        """Return plain values; with `details=False` no host, figure or error text is in them."""
        if not details:
            return {
                "status": self.status,
                "live": self.live,
                "ready": self.ready,
                "state": self.state,
                "since": round(self.since, 3),
            }
        return asdict(self)

    def render(
        self,
        accept: str | None = None,
        *,
        format: Format | None = None,  # noqa: A002  the word that everyone looks for
        check: Check = "ready",
        details: bool = False,
    ) -> Rendering:
        """Return the HTTP answer to a readiness or liveness check: status code, type and body.

        Args:
            accept: The request's Accept header, which chooses between health+json, json, text and
                spring; health+json is the answer to none of them.
            format: health+json, json, text, spring or microprofile, whatever the header says.
            check: ready asks whether to send requests; live whether to restart the program, which
                never depends on the database.
            details: Whether hosts, figures and the texts of errors are shown, too.

        Raises:
            ValueError: There is no such format or check.
        """
        from .http._health import render  # noqa: PLC0415  `import pgmoor` does without it

        return render(self, accept, format=format, check=check, details=details)


def host_health(state: HostState, *, current: bool, stale: bool, now: float) -> HostHealth:
    """Return the report on one host at *now*, by the monotonic clock."""
    return HostHealth(
        host=state.host.label,
        status=state.status.value,
        role=state.role.value,
        writable=state.writable,
        timeline=state.timeline,
        latency=state.latency,
        lag=state.lag,
        current=current,
        stale=stale,
        failure=state.failure.text if state.failure else None,
        age=None if state.asked_at == float("-inf") else max(now - state.asked_at, 0.0),
        pooled=state.pooled,
    )


def saturated(pool: PoolFigures) -> bool:
    """Return whether callers wait because all connections are in use."""
    return pool.waiting > 0 and not pool.idle and pool.used >= pool.max_size + pool.max_overflow


def grade(
    state: State, pool: PoolFigures, hosts: tuple[HostHealth, ...], empty: str | None = None
) -> tuple[Literal["pass", "warn", "fail"], str]:
    """Return the status, and the first thing worth a person's attention.

    *empty* is why the host in use gives us no connection at all.
    """
    if state not in SERVING or empty is not None:
        return "fail", state.value if empty is None else f"no connection can be made: {empty}"
    if state is State.STALLED:
        return "warn", "the host in use does not answer"
    for host in hosts:
        if host.stale and host.status == Status.UP.value:
            return "warn", f"{host.host} claims to be primary on a timeline that was left"
    for host in hosts:
        if host.status not in (Status.UP.value, Status.UNKNOWN.value):
            return "warn", f"{host.host} is {host.status}"
    if saturated(pool):
        return "warn", SATURATED
    return "pass", "connected"


def unopened(settings: Settings, state: State) -> Health:
    """Return the report of a manager that is not open: nothing is known, nothing runs."""
    return Health(
        live=False,
        ready=False,
        status="fail",
        state=state.value,
        reason=state.value,
        since=0.0,
        pool=PoolFigures(
            min_size=settings.min_size,
            max_size=settings.max_size,
            max_overflow=settings.max_overflow,
            kept=settings.sizes.kept,
        ),
        hosts=tuple(
            host_health(HostState(host), current=False, stale=False, now=0.0)
            for host in settings.hosts
        ),
        name=settings.name,
    )
