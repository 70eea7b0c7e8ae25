"""What a host must be, and the settings that decisions rest on. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Literal

from pgmoor.health import Role

if TYPE_CHECKING:
    from .host import HostState


class Target(StrEnum):
    """Which servers qualify, with the values and meaning of libpq's `target_session_attrs`.

    One difference: a server outside recovery that refuses writes (default_transaction_read_only)
    does not satisfy `primary`. A demoted primary that keeps its connections looks like that.
    """

    ANY = "any"
    READ_WRITE = "read-write"
    READ_ONLY = "read-only"
    PRIMARY = "primary"
    STANDBY = "standby"
    PREFER_STANDBY = "prefer-standby"


TargetName = Literal["any", "read-write", "read-only", "primary", "standby", "prefer-standby"]


@dataclass(frozen=True, slots=True)
class FailoverRules:
    """The settings that decisions rest on; durations in seconds."""

    target: Target = Target.PRIMARY
    failback: Literal["auto", "manual"] = "auto"
    failback_after: float = 30.0
    settle: float = 0.2
    stall_timeout: float = 15.0
    dial_patience: float = 0.5  # how long dials fail before another host is used
    expiry: float = 6.0  # an observation older than this proves nothing


def rank(target: Target, state: HostState) -> int | None:
    """Return how well a host that is up satisfies the target: 0 is best, None not at all."""
    standby = state.role is Role.STANDBY
    writable = state.writable is not False and not standby
    if target is Target.PREFER_STANDBY:
        return 0 if standby else 1
    fits = {
        Target.ANY: True,
        Target.READ_WRITE: writable,
        Target.PRIMARY: writable,
        Target.READ_ONLY: state.writable is False or standby,
        Target.STANDBY: standby,
    }[target]
    return 0 if fits else None
