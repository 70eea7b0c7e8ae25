"""The records that alerts are made of: kinds, severities, messages and rules."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

# Apprise's terms: channels choose a colour or an icon by them.
Severity = Literal["info", "success", "warning", "failure"]

Kind = Literal[
    "outage",
    "gave_up",
    "stall",
    "failover",
    "failback",
    "failback_postponed",
    "rejected",
    "split_brain",
    "foreign_host",
    "dial_failed",
    "host_down",
    "pool_saturated",
    "held_too_long",
    "recovered",
    "closed",
]

SEVERITIES: Mapping[Kind, Severity | None] = {
    "outage": "failure",
    "gave_up": "failure",
    "stall": "warning",
    "failover": "warning",
    "failback": "info",
    "failback_postponed": "warning",
    "rejected": "failure",
    "split_brain": "failure",
    "foreign_host": "failure",
    "dial_failed": "warning",
    "host_down": None,
    "pool_saturated": "warning",
    "held_too_long": "warning",
    "recovered": "success",
    "closed": "info",
}


@dataclass(frozen=True, slots=True)
class Message:
    """One alert as it is sent: plain text without secrets."""

    severity: Severity
    title: str
    text: str


@dataclass(frozen=True, slots=True)
class AlertRules:
    """Which events are worth a message, and when; durations in seconds. See `Alerts`."""

    after: float = 5.0
    remind: float | None = 1800.0
    digest: float = 600.0
    burst: int = 3
    severities: Mapping[Kind, Severity | None] = field(default_factory=lambda: SEVERITIES)
