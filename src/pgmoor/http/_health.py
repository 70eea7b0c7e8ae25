"""A `Health` report as an HTTP response: status codes, and the formats in common use. Pure.

The formats are draft-inadarei-api-health-check-06, Spring Boot's actuator, MicroProfile Health,
plain JSON and plain text. In each, a liveness response covers the manager's own tasks only.
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

# Spring's status for what is not in service yet, or was taken out of service on purpose.
OUT_OF_SERVICE = frozenset({State.NEW.value, State.STARTING.value, State.CLOSED.value})


def health_response(
    health: Health,
    accept: str | None = None,
    *,
    format: Format | None = None,  # noqa: A002  the word that everyone looks for
    check: Check = "ready",
    details: bool = False,
) -> Response:
    """Return the HTTP response to a readiness or liveness check: 200 or 503.

    Args:
        health: The report, from `health()` or `snapshot()` of a manager.
        accept: The request's Accept header, which selects health+json, json, text or spring.
            Without it the format is health+json.
        format: health+json, json, text, spring or microprofile, whatever the header says.
        check: "ready" asks whether to send requests. "live" asks whether to restart the program;
            it never depends on the database.
        details: Whether to include hosts, figures and error texts. Without them, the response is
            safe to expose publicly.

    Raises:
        ValueError: *format* or *check* is unknown.
    """
    chosen = negotiate(accept) if format is None else format
    if chosen not in TYPES:
        raise ValueError(f"unknown format {chosen!r}; use one of {', '.join(TYPES)}")
    if check not in get_args(Check):
        raise ValueError(f"unknown check {check!r}; use ready or live")
    good = health.ready if check == "ready" else health.live
    body = _FORMATTERS[chosen](health, check, details)
    text = body if isinstance(body, str) else json.dumps(body)
    return Response(
        OK if good else UNAVAILABLE,
        TYPES[chosen],
        text.encode(errors="backslashreplace"),  # a host's name may hold lone surrogates
        # It describes this instant, so a cache must not keep it.
        {"Content-Type": TYPES[chosen], "Cache-Control": "no-store", "Vary": "Accept"},
    )


def _status(health: Health, check: Check) -> str:
    """Return pass, warn or fail."""
    if check == "ready":
        return health.status
    return "pass" if health.live else "fail"


def _known(values: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}


def _health_json(health: Health, check: Check, details: bool) -> dict[str, Any]:
    status = _status(health, check)
    shown: dict[str, Any] = {"status": status}
    if not details:
        return shown
    shown |= {"serviceId": health.name, "notes": [f"{health.state} for {health.since:.1f} s"]}
    if check == "live":
        return {**shown, "description": "the manager's background tasks"}
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
        shown["time"] = _timestamp(health.at - host.age)
    if not usable and host.status != Status.UNKNOWN.value:
        shown["output"] = host.failure or ("stale" if host.stale else host.status)
    return shown | _known(
        {
            "role": host.role,
            "writable": host.writable,
            "timeline": host.timeline,
            "lag": host.lag,
            "current": host.current,
            "stale": host.stale,
            "pooled": host.pooled,
        }
    )


def _pool_checks(health: Health) -> dict[str, Any]:
    pool = health.pool
    common: dict[str, Any] = {
        "componentId": health.name,
        "componentType": "component",
        "status": "warn" if pool.saturated else "pass",
        "time": _timestamp(health.at),
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


def _timestamp(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")


def _spring(health: Health, check: Check, details: bool) -> dict[str, Any]:
    """Return Spring's tree: each status is the worst one below it.

    Hosts are details and not components: a standby that is down must not make the whole DOWN.
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
            "hosts": [_known(asdict(host)) for host in health.hosts],
        }
    return {"status": status, "components": component}


def _microprofile(health: Health, check: Check, details: bool) -> dict[str, Any]:
    """Return one check, with the hosts in its data: strings, numbers and booleans, one level deep.

    Hosts are not checks of their own: a standby that is down must not make the whole DOWN.
    """
    good = health.ready if check == "ready" else health.live
    status = "UP" if good else "DOWN"
    name = "database" if check == "ready" else "manager"
    shown: dict[str, Any] = {"name": name, "status": status}
    if details:
        data = {"name": health.name, "state": health.state, "since": round(health.since, 3)}
        if check == "ready":
            data["reason"] = health.reason
            data |= {f"pool_{figure}": value for figure, value in asdict(health.pool).items()}
            data |= {f"host_{number}": host_line(h) for number, h in enumerate(health.hosts, 1)}
        shown["data"] = data
    return {"status": status, "checks": [shown]}


def _text(health: Health, check: Check, details: bool) -> str:
    status = _status(health, check)
    if not details:
        return f"{status}\n"
    about = f"{health.name}: {health.state} for {health.since:.1f} s"
    if check == "live":
        return f"{status}\n{about}\n"
    hosts = map(host_line, health.hosts)
    return "\n".join((f"{status}: {health.reason}", about, f"pool: {health.pool}", *hosts, ""))


def host_line(host: HostHealth) -> str:
    """Return everything known about a host, in one line."""
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


_FORMATTERS: dict[Format, Callable[[Health, Check, bool], dict[str, Any] | str]] = {
    "health+json": _health_json,
    "json": _json,
    "text": _text,
    "spring": _spring,
    "microprofile": _microprofile,
}
