"""A `Health` report as an HTTP answer: status codes, and the shapes in common use. Pure.

The shapes are those of draft-inadarei-api-health-check-06, of Spring Boot's actuator and of
MicroProfile Health. A liveness answer tells of the manager's own tasks only, in each of them.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, get_args

from pgmoor.health import SATURATED, State, Status

from ._negotiation import TYPES, Format, negotiate
from ._response import OK, UNAVAILABLE, Response

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgmoor.health import Health, HostHealth

Check = Literal["ready", "live"]

# Spring keeps this status for what was taken out of service on purpose, or is not in service yet.
OUT_OF_SERVICE = frozenset({State.NEW.value, State.STARTING.value, State.CLOSED.value})


def health_response(
    health: Health,
    accept: str | None = None,
    *,
    format: Format | None = None,  # noqa: A002  the word that everyone looks for
    check: Check = "ready",
    details: bool = False,
) -> Response:
    """Return the HTTP answer to a readiness or liveness check: 200 or 503.

    Args:
        health: The report, from `health()` or `snapshot()` of a manager.
        accept: The request's Accept header. It chooses between health+json, json, text and spring;
            without it the answer is health+json.
        format: health+json, json, text, spring or microprofile, whatever the header says.
        check: ready asks whether to send requests; live asks whether to restart the program, which
            never depends on the database.
        details: Whether the answer shows hosts, figures and the texts of errors.

    Raises:
        ValueError: There is no such format or check.
    """
    chosen = negotiate(accept) if format is None else format
    if chosen not in TYPES:
        raise ValueError(f"there is no format {chosen!r}; there are {', '.join(TYPES)}")
    if check not in get_args(Check):
        raise ValueError(f"there is no check {check!r}; there are ready and live")
    good = health.ready if check == "ready" else health.live
    body = _SHAPES[chosen](health, check, details)
    text = body if isinstance(body, str) else json.dumps(body)
    return Response(
        OK if good else UNAVAILABLE,
        TYPES[chosen],
        text.encode(errors="backslashreplace"),  # a host's name may hold what is no character
        # A cache must not keep it: it is true for this instant.
        {"Content-Type": TYPES[chosen], "Cache-Control": "no-store", "Vary": "Accept"},
    )


# -- draft-inadarei-api-health-check ---------------------------------------------------------------


def _health_json(health: Health, check: Check, details: bool) -> dict[str, Any]:
    live = "pass" if health.live else "fail"
    status = health.status if check == "ready" else live
    shown: dict[str, Any] = {"status": status}
    if not details:
        return shown
    shown |= {"serviceId": health.name, "notes": [f"{health.state} for {health.since:.1f} s"]}
    if check == "live":
        return {**shown, "description": "the tasks that keep connections to PostgreSQL"}
    if status != "pass":
        shown["output"] = health.reason
    return {
        **shown,
        "description": "connections to PostgreSQL",
        "checks": {
            "postgresql:responseTime": [_host_check(health, host) for host in health.hosts],
            **_pool_checks(health),
        },
    }


def _host_check(health: Health, host: HostHealth) -> dict[str, Any]:
    shown: dict[str, Any] = {"componentId": host.host, "componentType": "datastore"}
    usable = host.status == Status.UP.value and not host.stale
    if host.status == Status.UP.value and host.latency is not None:
        shown |= {"observedValue": round(host.latency, 6), "observedUnit": "s"}
    if host.status != Status.UNKNOWN.value:
        shown["status"] = "pass" if usable else "fail"
    if host.age is not None:
        shown["time"] = _instant(health.at - host.age)
    if not usable and host.status != Status.UNKNOWN.value:
        shown["output"] = host.failure or ("stale" if host.stale else host.status)
    rest = {
        "role": host.role,
        "writable": host.writable,
        "timeline": host.timeline,
        "lag": host.lag,
        "current": host.current,
        "stale": host.stale,
        "pooled": host.pooled,
    }
    return shown | {key: value for key, value in rest.items() if value is not None}


def _pool_checks(health: Health) -> dict[str, Any]:
    pool = health.pool
    common: dict[str, Any] = {
        "componentId": health.name,
        "componentType": "component",
        "status": "warn" if pool.saturated else "pass",
        "time": _instant(health.at),
    }
    if pool.saturated:
        common["output"] = SATURATED
    share = round(100 * pool.used / max(pool.max_size + pool.max_overflow, 1), 1)
    return {
        "pool:utilization": [{**common, "observedValue": share, "observedUnit": "%"}],
        "pool:connections": [
            {**common, "observedValue": pool.size, "observedUnit": "{connection}", **asdict(pool)}
        ],
    }


def _instant(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")


# -- Spring Boot's actuator ------------------------------------------------------------------------


def _spring(health: Health, check: Check, details: bool) -> dict[str, Any]:
    """Return a tree whose every status is the worst of those below, as Spring's aggregator has it.

    A standby that is down does not make the whole DOWN, so the hosts stand in the details.
    """
    if check == "live":
        status = "UP" if health.live else "DOWN"
        component: dict[str, Any] = {"livenessState": {"status": status}}
    else:
        absent = "OUT_OF_SERVICE" if health.state in OUT_OF_SERVICE else "DOWN"
        status = "UP" if health.ready else absent
        component = {"db": {"status": status, "details": {"database": "PostgreSQL"}}}
    if not details:
        return {"status": status}
    if check == "ready":
        component["db"]["details"] |= {
            "name": health.name,
            "state": health.state,
            "since": round(health.since, 3),
            "reason": health.reason,
            "pool": asdict(health.pool),
            "hosts": [_present(asdict(host)) for host in health.hosts],
        }
    return {"status": status, "components": component}


def _present(values: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}


# -- MicroProfile Health ---------------------------------------------------------------------------


def _microprofile(health: Health, check: Check, details: bool) -> dict[str, Any]:
    """Return one check: the whole is UP when all checks are, so a standby that is down is none.

    It stands in the data, which are texts, numbers and truth values, one level deep.
    """
    good = health.ready if check == "ready" else health.live
    status = "UP" if good else "DOWN"
    shown: dict[str, Any] = {"name": "database" if check == "ready" else "manager"}
    shown["status"] = status
    if details:
        shown["data"] = {"name": health.name, "state": health.state}
        shown["data"]["since"] = round(health.since, 3)
    if details and check == "ready":
        shown["data"]["reason"] = health.reason
        shown["data"] |= {f"pool_{name}": value for name, value in asdict(health.pool).items()}
        lines = {f"host_{place}": host_line(host) for place, host in enumerate(health.hosts, 1)}
        shown["data"] |= lines
    return {"status": status, "checks": [shown]}


# -- plain text and plain JSON ---------------------------------------------------------------------


def _text(health: Health, check: Check, details: bool) -> str:
    live = "pass" if health.live else "fail"
    status = health.status if check == "ready" else live
    if not details:
        return f"{status}\n"
    about = f"{health.name}: {health.state} for {health.since:.1f} s"
    if check == "live":
        return f"{status}\n{about}\n"
    hosts = map(host_line, health.hosts)
    return "\n".join((f"{status}: {health.reason}", about, f"pool: {health.pool}", *hosts, ""))


def host_line(host: HostHealth) -> str:
    """Return all that is known of a host in a line."""
    words = [str(host)]
    if host.status == Status.UP.value:
        words += ["in use"] * host.current + ["behind a pooler"] * (host.pooled is True)
        if host.timeline is not None:
            words.append(f"timeline {host.timeline}")
        if host.latency is not None:
            words.append(f"answers in {1000 * host.latency:.1f} ms")
        if host.lag is not None:
            words.append(f"{host.lag:.1f} s behind")
    return ", ".join(words)


def _json(health: Health, check: Check, details: bool) -> dict[str, Any]:
    if check == "ready":
        return health.to_dict(details=details)
    return {"live": health.live} | ({"name": health.name} if details else {})


_SHAPES: dict[Format, Callable[[Health, Check, bool], dict[str, Any] | str]] = {
    "health+json": _health_json,
    "json": _json,
    "text": _text,
    "spring": _spring,
    "microprofile": _microprofile,
}
