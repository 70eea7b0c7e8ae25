"""From what a manager knows to its `Health` report."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Literal

from pgmoor._core.hosts.failures import FailureKind
from pgmoor._core.hosts.table import HostTable
from pgmoor.health import (
    SATURATED,
    SERVING,
    Health,
    PoolFigures,
    State,
    Status,
    status_label,
)

if TYPE_CHECKING:
    from pgmoor._core.settings.settings import Settings
    from pgmoor._core.state.phase import Phase
    from pgmoor.health import HostHealth, RepeatFigures

UNANSWERED = FailureKind.UNANSWERED.value


def snapshot(
    name: str,
    phase: Phase,
    hosts: tuple[HostHealth, ...],
    pool: PoolFigures,
    *,
    repeats: RepeatFigures,
    live: bool,
    empty: str | None,
    failing: str | None,
) -> Health:
    """Return the report of an open manager; *empty* and *failing* are as in `grade()`."""
    status, reason = grade(phase.state, pool, hosts, empty, failing)
    if phase.serving and not live:
        status, reason = "fail", "the background tasks have ended"
    return Health(
        live=live,
        ready=live and phase.serving and empty is None,
        status=status,
        state=phase.state.value,
        reason=reason,
        since=monotonic() - phase.since,
        pool=pool,
        hosts=hosts,
        name=name,
        repeats=repeats,
    )


def grade(
    state: State,
    pool: PoolFigures,
    hosts: tuple[HostHealth, ...],
    empty: str | None = None,
    failing: str | None = None,
) -> tuple[Literal["pass", "warn", "fail"], str]:
    """Return the status, and the first thing that needs attention.

    *empty* is why the host in use gives us no connection at all, if that is so; *failing* is why it
    gives us no new one.
    """
    stale = next((host for host in hosts if host.stale and host.status == Status.UP.value), None)
    if state not in SERVING or empty is not None:
        why = state.value if stale is None else f"{state.value}: {stale}"
        return "fail", why if empty is None else f"no connection can be made: {empty}"
    if state is State.QUIET:  # what is known of the hosts is old
        return "pass", "quiet: the next caller wakes it"
    if state is State.STALLED or failing is not None:
        stalled = "the host in use does not answer"
        return "warn", f"no new connection can be made: {failing}" if failing else stalled
    trouble = _trouble(hosts, stale) or (SATURATED if pool.saturated else None)
    return ("pass", "connected") if trouble is None else ("warn", trouble)


def _trouble(hosts: tuple[HostHealth, ...], stale: HostHealth | None) -> str | None:
    """Return what is wrong with a host while another one, or this one, is in use."""
    if stale is not None:
        return f"{stale.host} claims to be primary on a superseded timeline"
    for host in hosts:
        unanswered = host.current and host.failure_kind == UNANSWERED
        if unanswered or host.status not in (Status.UP.value, Status.UNKNOWN.value):
            lives = f"accepts connections, and gives {host.failure}"
            what = lives if unanswered else status_label(host.status)
            return f"{host.host} {what}"
    return None


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
        hosts=HostTable(settings.hosts).report(None, 0.0),
        name=settings.name,
    )
