"""Which host to use: `decide()`, a pure and total function of the host table and the clock.

`failover.controller` carries out what it returns.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

from pgmoor.health import Status

from .failures import FailureKind
from .rules import rank
from .settling import is_known_stale, is_surely_newest, might_be_newer, steady_since

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .host import HostState
    from .rules import FailoverRules
    from .table import HostTable


class Action(Enum):
    """What the controller is to do."""

    STAY = "stay"  # on the current host
    SWITCH = "switch"  # to the host named
    LEAVE = "leave"  # the current host; no other is known to qualify yet
    WAIT = "wait"  # there is no current host, and none qualifies yet


class Reason(Enum):
    """Why. Logs, events and errors show the value."""

    FINE = "it satisfies the target"
    ONLY_ONE_LEFT = "it does not answer, and no other host qualifies"
    UNVERIFIED = "it has not been verified yet"
    FIRST = "it is the first host in order that satisfies the target"
    PREFERRED = "it is preferred, and has been stable long enough"
    NEWER_TIMELINE = "it is the primary of the newer timeline"
    STALE = "another host is on a newer timeline"
    DOWN = "it is down"
    STARTING = "it does not accept connections"
    REJECTED = "it rejects our logins"
    SILENT = "it does not answer"
    ROLE = "it no longer satisfies the target"
    REMOVED = "it is no longer in the list"
    NO_SESSIONS = "it accepts no new connections"
    UNANSWERED = "it answers no statement, although it accepts connections"
    FOREIGN = "it belongs to another database cluster"
    SETTLING = "other hosts have not answered yet"
    NONE = "no host satisfies the target"

    def of(self, left: str, chosen: str) -> str:
        """Return the value with a host's name for "it": the one left, or the one chosen."""
        for_chosen = self in (Reason.FIRST, Reason.PREFERRED, Reason.NEWER_TIMELINE)
        named = chosen if for_chosen and chosen else left
        rest = self.value.removeprefix("it ")
        return rest if rest == self.value else f"{named} {rest}"


class Decision(NamedTuple):
    """What to do now and why, and when to decide again even if nothing new is learnt."""

    action: Action
    host: int | None
    reason: Reason
    recheck_at: float | None = None
    abort: bool = False  # cut the connections of the host that is left


def candidates(table: HostTable, rules: FailoverRules, now: float) -> list[HostState]:
    """Return the hosts that qualify by fresh evidence, the best first.

    One that missed its newest question is among them, but nobody moves to it.
    """
    found = []
    for order, state in enumerate(table):
        if state.status is not Status.UP or now - state.asked_at > rules.expiry:
            continue
        if table.is_stale(state) or table.is_foreign(state):
            continue
        place = rank(rules.target, state)
        if place is not None:
            found.append((place, order, state))
    return [state for _, _, state in sorted(found, key=lambda row: row[:2])]


def decide(
    table: HostTable,
    rules: FailoverRules,
    current: int | None,
    searching_since: float | None,
    now: float,
    *,
    failback_now: bool = False,
    awake_since: float = float("-inf"),
    postponed: Mapping[int, float] | None = None,
    has_sessions: bool = True,
) -> Decision:
    """Decide which host to use.

    *current* is the host in use, or None while the manager searches, which it does since
    *searching_since*. *now* is the value of `time.monotonic()`. *failback_now* asks to go back to a
    preferred host without waiting for `failback_after`. *awake_since* is the end of the event
    loop's last pause: answers from before it may not have been read yet. *postponed* says, by
    index, until when no failback to a host is tried: its pool could not be filled. *has_sessions*
    tells whether any connection to the host in use lives.
    """
    found = candidates(table, rules, now)
    others = [
        state
        for state in found
        if state.misses == 0
        and state.host.index != current
        and not (state.refuses_sessions or state.is_unanswered)
    ]
    if current is None:
        since = now if searching_since is None else searching_since
        return _choose(table, rules, others, since, now, awake_since=awake_since)
    state = table[current]
    fault = _disqualified(table, rules, state, others, now)
    if fault is None and not has_sessions:
        fault = _useless(rules, state, now)
    if fault:
        reason, abort = fault
        better = others[0] if others else None
        if better and _is_newer(better, state) and is_surely_newest(table, rules, better, now):
            return Decision(Action.SWITCH, better.host.index, Reason.NEWER_TIMELINE, abort=abort)
        return Decision(Action.LEAVE, current, reason, abort=abort)
    if moved := _moved_gently(table, rules, state, others, now):
        return moved
    if state not in found:
        return _unverified(rules, state, now)
    preferred = [
        other
        for other in others
        if found.index(other) < found.index(state) and not table.are_rivals(other, state)
    ]
    return _failback(rules, preferred, state, now, postponed or {}, at_once=failback_now)


def _moved_gently(
    table: HostTable,
    rules: FailoverRules,
    state: HostState,
    others: Sequence[HostState],
    now: float,
) -> Decision | None:
    """Decide on a host that lives, but is no longer listed or of no use to new callers.

    It is left when another host qualifies; what runs on it may finish.
    """
    listed = table.is_listed(state.host.index)
    reason, due = Reason.NO_SESSIONS, _refuses_from(rules, state, now)
    if due is None and state.unanswered_since is not None and state.misses == 0:
        reason, due = Reason.UNANSWERED, state.unanswered_since + rules.stall_timeout
    if listed and due is None:
        return None
    better = [other for other in others if not (listed and table.are_rivals(other, state))]
    if not better or not is_surely_newest(table, rules, better[0], now):
        return None
    if not listed or due is None:
        return Decision(Action.SWITCH, better[0].host.index, Reason.REMOVED)
    if now < due:
        return Decision(Action.STAY, state.host.index, Reason.FINE, recheck_at=due)
    return Decision(Action.SWITCH, better[0].host.index, reason)


def _refuses_from(rules: FailoverRules, state: HostState, now: float) -> float | None:
    """Return from when on a host counts as one without new connections, or None if it does not.

    A failed dial that nobody has tried again for long tells nothing any more.
    """
    dials = state.dials
    answers = state.status is Status.UP and state.misses == 0  # else other rules hold
    if dials is None or not state.refuses_sessions or not answers:
        return None
    return None if now - dials.last > rules.expiry else dials.since + rules.dial_patience


def _useless(rules: FailoverRules, state: HostState, now: float) -> tuple[Reason, bool] | None:
    """Return why a host without a living connection must be left, although no other qualifies.

    It gives no new connection either, so that callers would wait for nothing. What waits for an
    answer may get it: that is no reason to begin again.
    """
    if state.status is Status.REJECTED:
        return Reason.REJECTED, False
    if state.dials is not None and state.dials.failure.kind is FailureKind.UNANSWERED:
        return None
    due = _refuses_from(rules, state, now)
    return None if due is None or now < due else (Reason.NO_SESSIONS, False)


def _unverified(rules: FailoverRules, state: HostState, now: float) -> Decision:
    """Stay with a host that does not qualify by fresh evidence, or is no longer listed."""
    if state.silent_since is not None and state.status is Status.SILENT:
        until = state.silent_since + rules.stall_timeout
        # Past it, after a pause of this program: the next question decides.
        again = until if until > now else None
        return Decision(Action.STAY, state.host.index, Reason.ONLY_ONE_LEFT, recheck_at=again)
    return Decision(Action.STAY, state.host.index, Reason.UNVERIFIED)


def _disqualified(
    table: HostTable,
    rules: FailoverRules,
    state: HostState,
    others: Sequence[HostState],
    now: float,
) -> tuple[Reason, bool] | None:
    """Return why the current host must be left, and whether to cut its connections."""
    if table.is_stale(state):
        return Reason.STALE, True
    if table.is_foreign(state):
        return Reason.FOREIGN, True
    since = state.since if state.silent_since is None else state.silent_since
    # If no other host has answered meanwhile, it may be the network that is silent.
    alone = not any(other.asked_at > since for other in others)
    fault: tuple[Reason, bool] | None = None
    match state.status:
        case Status.DOWN:
            fault = Reason.DOWN, True
        case Status.STARTING:
            fault = Reason.STARTING, False
        case Status.REJECTED if not alone:
            fault = Reason.REJECTED, False
        case Status.SILENT if not alone or _stalled_too_long(rules, state, since, now):
            fault = Reason.SILENT, True
        case Status.UP if rank(rules.target, state) is None:
            fault = Reason.ROLE, False
    return fault


def _is_newer(state: HostState, than: HostState) -> bool:
    return (
        state.timeline is not None
        and than.timeline is not None
        and state.system_id == than.system_id
        and state.timeline > than.timeline
    )


def _stalled_too_long(rules: FailoverRules, state: HostState, since: float, now: float) -> bool:
    """Return whether a host has been silent for `stall_timeout`.

    Time in which the program stood still, so that no probe was sent, does not count.
    """
    limit = rules.stall_timeout
    return now >= since + limit and state.asked_at >= since + limit / 2


def _choose(
    table: HostTable,
    rules: FailoverRules,
    found: Sequence[HostState],
    since: float,
    now: float,
    *,
    awake_since: float,
) -> Decision:
    """Choose a host while none is in use.

    The first server that accepts may be an old primary that came back. So a choice waits until
    every other host has answered or failed since then, for `settle` at most. It does not wait for
    one that is known to be a stale primary.
    """
    if not found:
        return Decision(Action.WAIT, None, Reason.NONE)
    fresh = [state for state in found if state.asked_at >= since]
    began = max(since, min((steady_since(state) for state in fresh), default=since))
    due = max(began, awake_since) + rules.settle
    late = [
        state
        for state in table
        if state not in fresh and (state.asked_at < since or might_be_newer(state, rules, began))
    ]
    if fresh and (now >= due or not late):
        return Decision(Action.SWITCH, _first(table, fresh), Reason.FIRST)
    if fresh and all(is_known_stale(table, rules, state, now) for state in late):
        return Decision(Action.SWITCH, _first(table, fresh), Reason.NEWER_TIMELINE)
    recheck_at = due if due > now else None
    return Decision(Action.WAIT, None, Reason.SETTLING, recheck_at=recheck_at)


def _first(table: HostTable, fresh: Sequence[HostState]) -> int:
    """Return the first host in order; of two primaries on one timeline, the one used last."""
    first = fresh[0]
    for state in fresh[1:]:
        if table.are_rivals(first, state) and state.host.index == table.last:
            return state.host.index
    return first.host.index


def _failback(
    rules: FailoverRules,
    preferred: Sequence[HostState],
    state: HostState,
    now: float,
    postponed: Mapping[int, float],
    *,
    at_once: bool,
) -> Decision:
    """Decide whether to go back from a working host to a preferred one."""
    if preferred and at_once:
        return Decision(Action.SWITCH, preferred[0].host.index, Reason.PREFERRED)
    if not preferred or rules.failback == "manual":
        return Decision(Action.STAY, state.host.index, Reason.FINE)
    due = [
        max(
            (now if better.steady_since is None else better.steady_since) + rules.failback_after,
            postponed.get(better.host.index, now),
        )
        for better in preferred
    ]
    for better, at in zip(preferred, due, strict=True):
        if now >= at:
            return Decision(Action.SWITCH, better.host.index, Reason.PREFERRED)
    return Decision(Action.STAY, state.host.index, Reason.FINE, recheck_at=min(due))
