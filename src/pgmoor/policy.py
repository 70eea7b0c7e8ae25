"""Which host to use: `decide()`, a pure and total function of the evidence, and `pace()`.

It reads a `HostTable` and a clock value and returns what is to be done; `steering` does it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Literal, NamedTuple

from .health import Role, Status
from .heard import has_last_word, is_history, may_object, steady_since
from .sqlstate import FailureKind

if TYPE_CHECKING:
    from .hosts import HostState, HostTable
    from collections.abc import Sequence


class Target(Enum):
    """Which servers will do; libpq's `target_session_attrs`, with its values and meaning.

    One difference: a server outside recovery that refuses writes (default_transaction_read_only)
    does not satisfy `primary`. A demoted primary that keeps its connections looks like that.
    """

    ANY = "any"
    READ_WRITE = "read-write"
    READ_ONLY = "read-only"
    PRIMARY = "primary"
    STANDBY = "standby"
    PREFER_STANDBY = "prefer-standby"


class Action(Enum):
    """What a decision asks for."""

    STAY = "stay"  # on the current host
    SWITCH = "switch"  # to the host named
    LEAVE = "leave"  # the current host, with no other to go to yet
    WAIT = "wait"  # there is no current host, and none qualifies yet


class Reason(Enum):
    """Why; the value is the phrase that logs, events and errors use."""

    FINE = "it satisfies the target"
    ONLY_ONE_LEFT = "it does not answer, and no other host qualifies"
    UNVERIFIED = "it has not been verified yet"
    FIRST = "it is the first host in order that satisfies the target"
    PREFERRED = "it is preferred, and has been stable long enough"
    NEWER_TIMELINE = "it is the primary of the newer timeline"
    STALE = "another host is on a newer timeline"
    DOWN = "it is down"
    STARTING = "it does not accept connections"
    REJECTED = "it turns us away"
    SILENT = "it does not answer"
    ROLE = "it no longer satisfies the target"
    REMOVED = "it is no longer in the list"
    FOREIGN = "it belongs to another database cluster"
    SETTLING = "other hosts have not answered yet"
    NONE = "no host satisfies the target"


@dataclass(frozen=True, slots=True)
class Rules:
    """The settings that decisions rest on; durations in seconds."""

    target: Target = Target.PRIMARY
    failback: Literal["auto", "manual"] = "auto"
    failback_after: float = 30.0
    settle: float = 0.2
    stall_timeout: float = 15.0
    expiry: float = 6.0  # an observation older than this proves nothing


class Decision(NamedTuple):
    """What to do now, why, and when to ask again even if nothing is learnt meanwhile."""

    action: Action
    host: int | None
    reason: Reason
    recheck_at: float | None = None
    abort: bool = False  # cut the connections of the host that is left


def rank(target: Target, state: HostState) -> int | None:
    """Return how well a host that is up satisfies the target: 0 is best, None is not at all."""
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


def candidates(table: HostTable, rules: Rules, now: float) -> list[HostState]:
    """Return the hosts that qualify by fresh evidence, the best first.

    One that missed its newest question is among them, but is not one to move to.
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
    rules: Rules,
    current: int | None,
    searching_since: float | None,
    now: float,
    *,
    failback_now: bool = False,
    awake_since: float = float("-inf"),
) -> Decision:
    """Decide which host to use.

    *current* is the host in use, or None while one is searched for, since *searching_since*.
    *now* is the clock's value (`time.monotonic()`). *failback_now* is a request to go back to a
    preferred host without waiting for `failback_after`. *awake_since* is when the event loop was
    last found to have stood still: what was answered before may not have been read yet.
    """
    found = candidates(table, rules, now)
    others = [state for state in found if state.misses == 0 and state.host.index != current]
    if current is None:
        since = now if searching_since is None else searching_since
        return _choose(table, rules, others, since, now, awake_since=awake_since)
    state = table[current]
    if fault := _disqualified(table, rules, state, others, now):
        reason, abort = fault
        better = others[0] if others else None
        if better and _is_newer(better, state) and has_last_word(table, rules, better, now):
            return Decision(Action.SWITCH, better.host.index, Reason.NEWER_TIMELINE, abort=abort)
        return Decision(Action.LEAVE, current, reason, abort=abort)
    if not table.is_listed(current) and others and has_last_word(table, rules, others[0], now):
        return Decision(Action.SWITCH, others[0].host.index, Reason.REMOVED)
    if state not in found:
        return _unverified(rules, state, now)
    preferred = [
        other
        for other in others
        if found.index(other) < found.index(state) and not table.are_rivals(other, state)
    ]
    return _failback(rules, preferred, state, now, at_once=failback_now)


def _unverified(rules: Rules, state: HostState, now: float) -> Decision:
    """Decide to stay with a host that does not qualify by fresh evidence, or is in no list."""
    if state.silent_since is not None and state.status is Status.SILENT:
        until = state.silent_since + rules.stall_timeout
        # Past it: the next question, asked after a pause of this program, decides.
        again = until if until > now else None
        return Decision(Action.STAY, state.host.index, Reason.ONLY_ONE_LEFT, recheck_at=again)
    return Decision(Action.STAY, state.host.index, Reason.UNVERIFIED)


def _disqualified(
    table: HostTable, rules: Rules, state: HostState, others: Sequence[HostState], now: float
) -> tuple[Reason, bool] | None:
    """Return why the current host must be left, and whether to cut its connections."""
    if table.is_stale(state):
        return Reason.STALE, True
    if table.is_foreign(state):
        return Reason.FOREIGN, True
    since = state.since if state.silent_since is None else state.silent_since
    # Another host has to have answered in the same silence, or it is the network that is silent.
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


def _stalled_too_long(rules: Rules, state: HostState, since: float, now: float) -> bool:
    """Return whether a host has been silent for `stall_timeout`.

    Time in which nobody asked, as the program stood still, proves nothing.
    """
    limit = rules.stall_timeout
    return now >= since + limit and state.asked_at >= since + limit / 2


def _choose(
    table: HostTable,
    rules: Rules,
    found: Sequence[HostState],
    since: float,
    now: float,
    *,
    awake_since: float,
) -> Decision:
    """Choose a host while none is in use.

    The first server that accepts may be an old primary that came back: a choice waits until every
    host has answered or failed since then, for `settle` at most. An old primary whose timeline was
    left need not be heard.
    """
    if not found:
        return Decision(Action.WAIT, None, Reason.NONE)
    fresh = [state for state in found if state.asked_at >= since]
    began = max(since, min((steady_since(state) for state in fresh), default=since))
    due = max(began, awake_since) + rules.settle
    late = [
        state
        for state in table
        if state not in fresh and (state.asked_at < since or may_object(state, rules, began))
    ]
    if fresh and (now >= due or not late):
        return Decision(Action.SWITCH, _first(table, fresh), Reason.FIRST)
    if fresh and all(is_history(table, rules, state, now) for state in late):
        return Decision(Action.SWITCH, _first(table, fresh), Reason.NEWER_TIMELINE)
    recheck_at = due if due > now else None
    return Decision(Action.WAIT, None, Reason.SETTLING, recheck_at=recheck_at)


def _first(table: HostTable, fresh: Sequence[HostState]) -> int:
    """Return the first host in order; of two primaries on one timeline, the one used before."""
    first = fresh[0]
    for state in fresh[1:]:
        if table.are_rivals(first, state) and state.host.index == table.last:
            return state.host.index
    return first.host.index


def _failback(
    rules: Rules, preferred: Sequence[HostState], state: HostState, now: float, *, at_once: bool
) -> Decision:
    """Decide whether to go back from a working host to a preferred one."""
    stay = Decision(Action.STAY, state.host.index, Reason.FINE)
    if not preferred:
        return stay
    if at_once:
        return Decision(Action.SWITCH, preferred[0].host.index, Reason.PREFERRED)
    if rules.failback == "manual":
        return stay
    due = [
        (now if better.steady_since is None else better.steady_since) + rules.failback_after
        for better in preferred
    ]
    for better, at in zip(preferred, due, strict=True):
        if now >= at:
            return Decision(Action.SWITCH, better.host.index, Reason.PREFERRED)
    return Decision(Action.STAY, state.host.index, Reason.FINE, recheck_at=min(due))


class Situation(NamedTuple):
    """What the manager is about, as far as the pace of probing depends on it."""

    searching: bool = False  # no host is in use
    unsure_since: float | None = None  # when the doubt or the search began
    given_up: bool = False


BURST_FIRST = 0.01
BURST_LAST = 0.1
NO_ROOM = frozenset({FailureKind.SATURATED, FailureKind.RESOURCES})
NO_ROOM_INTERVAL = 0.5  # seconds; a server without a free slot or memory is not to be pressed
REJECTED_INTERVAL = 5.0


def pace(state: HostState, situation: Situation, interval: float, now: float) -> float | None:
    """Return the seconds until a host's next probe, or None: not before it is asked for.

    While something is in doubt the probes come in a burst that begins 10 ms apart and slows to
    100 ms within 2 s. In an outage the hosts that are down are left to the reconnect coroutine
    with its backoff; those that answer go on in the burst, as one may be promoted at any moment.
    """
    if situation.given_up:
        return None
    if state.status is Status.REJECTED:
        return max(interval, REJECTED_INTERVAL)
    if state.failure is not None and state.failure.kind in NO_ROOM:
        return max(interval, NO_ROOM_INTERVAL)
    if situation.searching and state.status in (Status.DOWN, Status.SILENT):
        return None
    if situation.unsure_since is not None:
        unsure_for = now - situation.unsure_since
        return min(max(unsure_for / 20, BURST_FIRST), BURST_LAST, interval)
    return interval
