"""Which hosts a choice has to wait for: those that may be primary on a newer timeline. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pgmoor.health import Status

if TYPE_CHECKING:
    from .host import HostState
    from .rules import FailoverRules
    from .table import HostTable


def steady_since(state: HostState) -> float:
    """Return when a host that is up began to give the answer that it gives now."""
    return state.asked_at if state.steady_since is None else state.steady_since


def might_be_newer(state: HostState, rules: FailoverRules, since: float) -> bool:
    """Return whether a host might be on a newer timeline than one that first answered at *since*.

    That is when it has neither answered nor failed since. Its answer may be up to `settle` older,
    because hosts are asked in turn. Its failure may not: what ended the silence of one host may
    have ended that of the other.
    """
    if state.status is Status.REJECTED:
        return False
    answered = state.status is Status.UP and state.failure is None
    return state.asked_at < (since - rules.settle if answered else since)


def is_known_stale(table: HostTable, rules: FailoverRules, state: HostState, now: float) -> bool:
    """Return whether a host is known to be a stale primary, by an answer that is recent enough.

    After a while it may have rejoined its successor and been promoted again.
    """
    return table.is_stale(state) and now - state.answered_at <= rules.expiry


def is_surely_newest(table: HostTable, rules: FailoverRules, state: HostState, now: float) -> bool:
    """Return whether no other host might be primary on a newer timeline still."""
    since = steady_since(state)
    return not any(
        might_be_newer(other, rules, since) and not is_known_stale(table, rules, other, now)
        for other in table
        if other is not state
    )
