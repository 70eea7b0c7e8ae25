"""Whom a choice has to hear first: hosts that might know better than the one that qualifies.

Pure: it takes the clock's value.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .health import Status

if TYPE_CHECKING:
    from .hosts import HostState, HostTable
    from .policy import Rules


def steady_since(state: HostState) -> float:
    """Return since when a host that is up has given the answer that it gives now."""
    return state.asked_at if state.steady_since is None else state.steady_since


def may_object(state: HostState, rules: Rules, since: float) -> bool:
    """Return whether a host might by now know better than one that first answered at *since*.

    It has not answered or failed lately. An answer may be a little older, as hosts are asked in
    turns. A failure may not: what ended one host's silence may have ended the other's.
    """
    if state.status is Status.REJECTED:
        return False
    answered = state.status is Status.UP and state.failure is None
    return state.asked_at < (since - rules.settle if answered else since)


def is_history(table: HostTable, rules: Rules, state: HostState, now: float) -> bool:
    """Return whether a host is known to be an old primary, by an answer that is not too old.

    Later it may have joined its successor, and succeeded that one.
    """
    return table.is_stale(state) and now - state.heard_at <= rules.expiry


def has_last_word(table: HostTable, rules: Rules, state: HostState, now: float) -> bool:
    """Return whether no other host is left that might be primary on a newer timeline still."""
    since = steady_since(state)
    return not any(
        may_object(other, rules, since) and not is_history(table, rules, other, now)
        for other in table
        if other is not state
    )
