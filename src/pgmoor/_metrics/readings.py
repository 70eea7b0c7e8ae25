"""The values of a manager's metrics at one instant, from its health report and its tally."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING

from pgmoor import events
from pgmoor.health import Role, State, Status

from . import catalogue as names

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pgmoor.health import Health, HostHealth

    from .buckets import Buckets
    from .catalogue import Metric
    from .tally import Tally


@dataclass(frozen=True, slots=True)
class Reading:
    """One value of a metric. *labels* have Prometheus' names, without the manager's."""

    metric: Metric
    value: float | Buckets
    labels: dict[str, str] = field(default_factory=dict)


@cache
def event_names() -> tuple[str, ...]:
    """Return the names of all events."""
    kinds = (kind for kind in vars(events).values() if isinstance(kind, type))
    named = {kind.__name__ for kind in kinds if issubclass(kind, events.Event)}
    return tuple(sorted(named - {"Event"}))


def read(health: Health, tally: Tally) -> Iterator[Reading]:
    """Yield all readings. Counters start at 0, so that the first increase is seen."""
    yield from _of_pool(health, tally)
    yield from _of_manager(health, tally)
    shown: set[str] = set()
    for host in health.hosts:
        # A name with several addresses is in the list once for each.
        if host.host in tally.probes and host.host not in shown:
            shown.add(host.host)
            yield from _of_host(host, tally)
    for metric, failures in (
        (names.PROBE_FAILURES, tally.probe_failures.copy()),
        (names.DIAL_FAILURES, tally.dial_failures.copy()),
    ):
        for (label, kind), count in failures.items():
            yield Reading(metric, count, {"host": label, "kind": kind})


def _of_pool(health: Health, tally: Tally) -> Iterator[Reading]:
    pool = health.pool
    yield Reading(names.CONNECTIONS, pool.idle, {"state": "idle"})
    yield Reading(names.CONNECTIONS, pool.used, {"state": "used"})
    yield Reading(names.IDLE_MAX, pool.kept)
    yield Reading(names.IDLE_MIN, pool.min_size)
    yield Reading(names.MAX, pool.max_size + pool.max_overflow)
    yield Reading(names.PENDING, pool.waiting)
    yield Reading(names.TIMEOUTS, tally.timeouts)
    yield Reading(names.CREATE_TIME, tally.creations)
    yield Reading(names.WAIT_TIME, tally.waits)
    yield Reading(names.USE_TIME, tally.uses)


def _of_manager(health: Health, tally: Tally) -> Iterator[Reading]:
    yield Reading(names.READY, int(health.ready))
    for state in State:
        value = int(health.state == state.value)
        yield Reading(names.MANAGER_STATE, value, {"state": state.value})
    yield Reading(names.FAILOVERS, tally.failovers)
    yield Reading(names.OUTAGE_TIME, tally.outage_seconds())
    yield Reading(names.DETECTION, tally.detections)
    yield Reading(names.RECOVERY, tally.recoveries)
    yield Reading(names.ATTEMPTS, tally.attempts)
    yield Reading(names.REPEATS, tally.repeats)
    yield Reading(names.REPEATS_REFUSED, tally.repeats_refused)
    for outcome in ("committed", "rolled_back", "undecided"):
        yield Reading(names.RESOLVED, tally.resolutions[outcome], {"outcome": outcome})
    for name in event_names():
        yield Reading(names.EVENTS, tally.events[name], {"event": name})


def _of_host(host: HostHealth, tally: Tally) -> Iterator[Reading]:
    label = {"host": host.host}
    for status in Status:
        value = int(host.status == status.value)
        yield Reading(names.HOST_STATE, value, {**label, "state": status.value})
    for role in Role:
        value = int(host.role == role.value)
        yield Reading(names.HOST_ROLE, value, {**label, "role": role.value})
    up = host.status == Status.UP.value
    yield Reading(names.HOST_IN_USE, int(host.current), label)
    yield Reading(names.HOST_STALE, int(host.stale and up), label)
    if up and host.role == Role.STANDBY.value:
        yield Reading(names.HOST_LAG, host.lag or 0.0, label)
    yield Reading(names.PROBES, tally.probes[host.host], label)
    yield Reading(names.ABORTED, tally.aborts[host.host], label)
