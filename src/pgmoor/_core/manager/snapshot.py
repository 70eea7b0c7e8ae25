"""From what a manager knows to its `Health` report. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pgmoor.health import SATURATED, SERVING, Health, HostHealth, PoolFigures, State, Status
from pgmoor.hosts import HostTable

if TYPE_CHECKING:
    from pgmoor.config import Settings


def grade(
    state: State, pool: PoolFigures, hosts: tuple[HostHealth, ...], empty: str | None = None
) -> tuple[Literal["pass", "warn", "fail"], str]:
    """Return the status, and the first thing that needs attention.

    *empty* is why the host in use gives us no connection at all, if that is so.
    """
    if state not in SERVING or empty is not None:
        return "fail", state.value if empty is None else f"no connection can be made: {empty}"
    if state is State.STALLED:
        return "warn", "the host in use does not answer"
    for host in hosts:
        if host.stale and host.status == Status.UP.value:
            return "warn", f"{host.host} claims to be primary on a superseded timeline"
    for host in hosts:
        if host.status not in (Status.UP.value, Status.UNKNOWN.value):
            return "warn", f"{host.host} is {host.status}"
    if pool.saturated:
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
        hosts=HostTable(settings.hosts).report(None, 0.0),
        name=settings.name,
    )
