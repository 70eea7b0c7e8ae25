"""Answers that only repeat what is known of a host: at rest all do. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pgmoor.health import Role

if TYPE_CHECKING:
    from .host import HostState, Observation, ServerInfo


def repeats(info: ServerInfo, state: HostState) -> bool:
    """Return whether an answer says only what is known of a host without any trouble."""
    role = Role.STANDBY if info.in_recovery else Role.PRIMARY
    told = (role, info.writable, info.timeline, info.system_id, info.started, info.pooled)
    known = (
        *(state.role, state.writable, state.timeline),
        *(state.system_id, state.started, state.pooled),
    )
    return known == told and info.in_recovery is not None and state.is_sound


def repeated(state: HostState, seen: Observation) -> HostState:
    """Return the state that follows from an answer that repeats what is known."""
    return replace(
        state,
        lag=seen.info.lag if seen.info else None,
        latency=seen.answered_at - seen.asked_at,
        asked_at=seen.asked_at,
        told_at=seen.asked_at,
        answered_at=seen.asked_at,
    )
