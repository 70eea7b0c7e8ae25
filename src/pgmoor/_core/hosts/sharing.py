"""What one manager learns of a host that holds for others, too: they may use other databases. Pure.

Managers that share a watch ask each host once for all of them, over a session of one of them. A
server's role, its timeline and its being away are the same for everybody. That a database is gone,
or a password wrong, concerns one manager alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .failures import FailureKind
from .probe_pace import NO_ROOM

if TYPE_CHECKING:
    from .failures import Failure
    from .host import HostState, Observation, ServerInfo

_OF_THE_SERVER = frozenset(
    {
        FailureKind.REFUSED,
        FailureKind.RESET,
        FailureKind.TIMEOUT,
        FailureKind.UNANSWERED,
        FailureKind.NAME,
        FailureKind.STARTING,
        FailureKind.SATURATED,  # perhaps for one role or database: then another is asked next
        FailureKind.RESOURCES,
    }
)
_OF_ONE_LOGIN = frozenset(
    {
        FailureKind.CREDENTIALS,
        FailureKind.CONFIGURATION,
        FailureKind.UNWILLING,
        FailureKind.SOURCE,
    }
)


def holds_for_all(seen: Observation) -> bool:
    """Return whether a probe's outcome is the same for every database and role of the host."""
    if seen.info is not None:
        return is_complete(seen.info)
    return seen.failure is not None and seen.failure.kind in _OF_THE_SERVER


def is_complete(info: ServerInfo) -> bool:
    """Return whether a server has said all of itself, and nothing of one database or role.

    A pooler may have another server behind it for each database.
    """
    unknown = None in (info.in_recovery, info.timeline, info.system_id, info.started)
    return not (unknown or info.pooled or info.own_mode)


def concerns_one_login(failure: Failure) -> bool:
    """Return whether a dial has failed for a reason that others need not meet."""
    return failure.kind in _OF_ONE_LOGIN


def tells_status(seen: Observation) -> bool:
    """Return whether an outcome says if the host works; having no room says nothing of that."""
    return seen.failure is None or seen.failure.kind not in NO_ROOM


def agree(one: Observation, other: Observation) -> bool:
    """Return whether two outcomes that hold for all say the same of a host."""
    if one.info is None or other.info is None:
        return one.info is other.info
    return _identity(one.info) == _identity(other.info)


def contradicts(info: ServerInfo, state: HostState) -> bool:
    """Return whether an answer shows another server, or another mode, than is known of a host."""
    if state.started is None or info.started is None:
        return False
    return (state.system_id, state.started, state.writable) != (
        info.system_id,
        info.started,
        info.writable,
    )


def _identity(info: ServerInfo) -> tuple[object, ...]:
    return info.system_id, info.started, info.in_recovery, info.writable
