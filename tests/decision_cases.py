"""The cases of `decide()`: what is known of the hosts, and the decision expected.

`hosts/test_decision.py` checks them, and `render_decisions.py` shows them in docs/decisions.md.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any

from pgmoor._core.hosts.decision import Action, Decision, Reason, decide
from pgmoor._core.hosts.failures import Failure, FailureKind
from pgmoor._core.hosts.host import Host, Observation, ServerInfo
from pgmoor._core.hosts.rules import FailoverRules, Target
from pgmoor._core.hosts.table import HostTable

NOW = 1000.0
SYSTEM = 7
OTHER_SYSTEM = 8


# -- what was seen of a host --------------------------------------------------------------------


@dataclass(frozen=True)
class Seen:
    """What was observed of one host, oldest first, and how the page words it."""

    words: str
    outcomes: tuple[tuple[float, ServerInfo | FailureKind], ...] = ()  # seconds ago, and what
    dials: tuple[tuple[float, FailureKind], ...] = ()  # for the pool, that failed
    served: bool = False  # statements of others were answered meanwhile

    def __str__(self) -> str:
        return self.words

    def observations(self, host: int) -> list[Observation]:
        dials = [
            replace(observation(host, NOW - ago, kind), dialled=True) for ago, kind in self.dials
        ]
        asked = [observation(host, NOW - ago, outcome) for ago, outcome in self.outcomes]
        return [*(replace(seen, served=self.served) for seen in asked), *dials]


def observation(host: int, asked_at: float, outcome: ServerInfo | FailureKind) -> Observation:
    if isinstance(outcome, ServerInfo):
        return Observation(host, asked_at, asked_at + 0.001, info=outcome)
    failure = Failure(outcome, outcome.value)
    return Observation(host, asked_at, asked_at + 0.001, failure=failure)


def answered(words: str, info: ServerInfo, ago: float, steady: float) -> Seen:
    if ago != 0.05:
        words += f", {ago:g} s ago"
    elif steady != 60:
        words += f", for {steady:g} s"
    # `steady` counts from the first answer, which came 1 ms after the question.
    return Seen(words, ((max(steady, ago) + 0.001, info), (ago, info)))


def primary(
    timeline: int = 1, *, ago: float = 0.05, steady: float = 60, system: int = SYSTEM
) -> Seen:
    words = f"primary, timeline {timeline}"
    if system != SYSTEM:
        words += ", other cluster"
    info = ServerInfo(in_recovery=False, writable=True, timeline=timeline, system_id=system)
    return answered(words, info, ago, steady)


def another_primary(timeline: int = 1, *, steady: float = 60) -> Seen:
    """Return what is seen of a second server, promoted on the same timeline."""
    info = ServerInfo(False, True, timeline, SYSTEM, started=2)
    return answered(f"another primary, timeline {timeline}", info, 0.05, steady)


def read_only_primary(timeline: int = 1) -> Seen:
    info = ServerInfo(in_recovery=False, writable=False, timeline=timeline, system_id=SYSTEM)
    return answered(f"read-only primary, timeline {timeline}", info, 0.05, 60)


def standby(timeline: int = 1, *, ago: float = 0.05, steady: float = 60) -> Seen:
    info = ServerInfo(in_recovery=True, writable=False, timeline=timeline, system_id=SYSTEM)
    return answered(f"standby, timeline {timeline}", info, ago, steady)


def writable(*, ago: float = 0.05, steady: float = 60) -> Seen:
    """Return what is seen of a pooler or a multi-writer database, which have no roles."""
    return answered("writable, role unknown", ServerInfo(writable=True), ago, steady)


def failed(was: Seen, kind: FailureKind, words: str, *, ago: float = 0.05) -> Seen:
    return Seen(f"{words} (was {was})", (*was.outcomes[:1], (ago, kind)))


def replaced(was: Seen, ago: float, now: Seen) -> Seen:
    """Return what is seen of a host that was another server *ago* seconds ago, and is up."""
    was_seen = tuple((ago, outcome) for _, outcome in was.outcomes[-1:])
    since = tuple(step for step in now.outcomes if step[0] < ago)
    return Seen(f"{now} (was {was}, {ago:g} s ago)", (*was_seen, *since))


def gone(was: Seen, seconds: float) -> Seen:
    words = f"refused connections for {seconds:g} s (was {was})"
    outcomes = ((seconds, FailureKind.REFUSED), (0.05, FailureKind.REFUSED))
    return Seen(words, (*was.outcomes[:1], *outcomes))


def never() -> Seen:
    return Seen("not probed yet")


def refused(was: Seen, *, ago: float = 0.05) -> Seen:
    words = "refuses connections" if ago == 0.05 else f"refused connections {ago:g} s ago"
    return failed(was, FailureKind.REFUSED, words, ago=ago)


def missed(was: Seen) -> Seen:
    return failed(was, FailureKind.TIMEOUT, "missed one probe")


def silent(was: Seen, seconds: float) -> Seen:
    timeouts = tuple((ago, FailureKind.TIMEOUT) for ago in (seconds, seconds / 2))
    return Seen(f"silent for {seconds:g} s (was {was})", (*was.outcomes[:1], *timeouts))


def unanswered(was: Seen, seconds: float, words: str = "connections", **more: Any) -> Seen:
    """Return what is known of a host that is heard, and does not say who it is."""
    times = (seconds, min(seconds, 0.1) / 2)
    outcomes = tuple((ago, FailureKind.UNANSWERED) for ago in times)
    text = f"does not say who it is for {seconds:g} s, and accepts {words} (was {was})"
    return Seen(text, (*was.outcomes[:1], *outcomes), **more)


def no_sessions(was: Seen, seconds: float, kind: FailureKind = FailureKind.REFUSED) -> Seen:
    """Return what is known of a host that answers its probe and refuses new connections."""
    return Seen(
        f"{was}; dials have failed for {seconds:g} s ({kind.value})",
        was.outcomes,
        ((seconds, kind), (min(seconds, 0.1) / 2, kind)),
    )


def one_dial_failed(was: Seen, kind: FailureKind) -> Seen:
    return Seen(f"{was}; a dial failed 1 s ago ({kind.value})", was.outcomes, ((1.0, kind),))


def silent_before(was: Seen, seconds: float) -> Seen:
    """Return what is known of a host that fell silent and was not probed any more."""
    timeouts = tuple((seconds - at, FailureKind.TIMEOUT) for at in (0, 1))
    return Seen(
        f"missed probes {seconds:g} s and {seconds - 1:g} s ago, not probed since (was {was})",
        (*was.outcomes[:1], *timeouts),
    )


# -- the table ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Then:
    """The decision expected; *recheck* is after how many seconds it is made again."""

    action: Action
    host: int | None
    reason: Reason
    abort: bool = False
    recheck: float | None = None


@dataclass(frozen=True)
class Case:
    """One row: what is known, and which host is in use or for how long the search has lasted."""

    topic: str
    name: str
    hosts: tuple[Seen, ...]
    then: Then
    current: int | None = None
    searching: float | None = None  # seconds
    rules: dict[str, Any] = field(default_factory=dict)
    failback_now: bool = False
    blocked_until: float | None = None  # the event loop, seconds ago
    removed: int | None = None  # from the list
    has_sessions: bool = True
    postponed: dict[int, float] = field(default_factory=dict)  # failbacks, for how many seconds

    @property
    def settings(self) -> list[str]:
        """What differs from the defaults, as the page shows it."""
        shown = [
            f"{name}={value.value if isinstance(value, Target) else value}"
            for name, value in self.rules.items()
        ]
        if self.failback_now:
            shown.append("`failback()` was called")
        if self.blocked_until is not None:
            shown.append(f"the event loop was blocked until {self.blocked_until:g} s ago")
        if self.removed is not None:
            shown.append(f"db{self.removed + 1} was removed from the list")
        if not self.has_sessions:
            shown.append("no connection lives")
        for host, seconds in self.postponed.items():
            shown.append(f"db{host + 1} could not be filled, next try in {seconds:g} s")
        return shown

    def table(self) -> HostTable:
        table = table_of(len(self.hosts))
        table.system_id = SYSTEM
        seen = [item for index, host in enumerate(self.hosts) for item in host.observations(index)]
        for item in sorted(seen, key=lambda item: item.asked_at):
            table.apply(item)
        if self.removed is not None:
            left = [state.host for state in table if state.host.index != self.removed]
            table.revise(left, keep={self.removed})
        return table

    def decide(self) -> Decision:
        since = None if self.searching is None else NOW - self.searching
        return decide(
            self.table(),
            FailoverRules(**self.rules),
            self.current,
            since,
            NOW,
            failback_now=self.failback_now,
            awake_since=NOW - (math.inf if self.blocked_until is None else self.blocked_until),
            has_sessions=self.has_sessions,
            postponed={host: NOW + seconds for host, seconds in self.postponed.items()},
        )


def table_of(count: int) -> HostTable:
    return HostTable([Host(index, f"db{index + 1}", 5432) for index in range(count)])


STAY, SWITCH, LEAVE, WAIT = Action.STAY, Action.SWITCH, Action.LEAVE, Action.WAIT

SEARCH = "The manager searches for a host"
STEADY = "The host in use works, or nothing is known against it"
CRASH = "The host in use crashes or shuts down"
SILENCE = "The host in use falls silent"
DEMOTION = "The host in use is demoted"
TIMELINES = "Two hosts claim to be primary"
FOREIGN = "A host belongs to another database cluster"
SESSIONS = "The host in use works, but accepts no new connections"
UNANSWERED = "The host in use lives, and does not say who it is"
REMOVED = "The host in use is removed from the list"
FAILBACK = "A preferred host is back"
TARGETS = "Which hosts satisfy a target"

CASES = (
    Case(
        SEARCH,
        "nothing is known yet",
        (never(), never()),
        Then(WAIT, None, Reason.NONE),
        searching=0,
    ),
    Case(
        SEARCH,
        "the first host answers before the others",
        (primary(), never()),
        Then(WAIT, None, Reason.SETTLING, recheck=0.1),
        searching=0.1,
    ),
    Case(
        SEARCH,
        "the others have not answered within `settle`",
        (primary(), never()),
        Then(SWITCH, 0, Reason.FIRST),
        searching=0.2,
    ),
    Case(
        SEARCH,
        "all hosts have answered: there is nothing to wait for",
        (primary(), standby()),
        Then(SWITCH, 0, Reason.FIRST),
        searching=0.1,
    ),
    Case(
        SEARCH,
        "the others have failed: there is nothing to wait for",
        (refused(primary(1)), standby(1), primary(2)),
        Then(SWITCH, 2, Reason.FIRST),
        searching=0.1,
    ),
    Case(
        SEARCH,
        "several qualify: the first in order wins",
        (standby(), writable(), writable()),
        Then(SWITCH, 1, Reason.FIRST),
        searching=0.1,
    ),
    Case(
        SEARCH,
        "all are standbys: one of them may be promoted",
        (standby(), standby()),
        Then(WAIT, None, Reason.NONE),
        searching=5,
    ),
    Case(
        SEARCH,
        "an answer from before the search proves nothing",
        (primary(ago=0.5), refused(standby())),
        Then(WAIT, None, Reason.SETTLING, recheck=0.1),
        searching=0.1,
    ),
    Case(
        SEARCH,
        "an answer from before the search proves nothing after `settle` either",
        (primary(ago=0.5), refused(standby())),
        Then(WAIT, None, Reason.SETTLING),
        searching=0.3,
    ),
    Case(
        SEARCH,
        "the host that would qualify missed its newest probe",
        (missed(primary()), standby()),
        Then(WAIT, None, Reason.NONE),
        searching=0.3,
    ),
    Case(
        SEARCH,
        "a host on a newer timeline than the missing one is chosen at once",
        (primary(1, ago=1), primary(2)),
        Then(SWITCH, 1, Reason.NEWER_TIMELINE),
        searching=0.1,
    ),
    Case(
        SEARCH,
        "a standby that has not answered may have been promoted since",
        (refused(primary(1)), primary(2), standby(2, ago=1)),
        Then(WAIT, None, Reason.SETTLING, recheck=0.1),
        searching=0.1,
    ),
    Case(
        SEARCH,
        "a standby on a newer timeline makes the old primary stale",
        (primary(1), standby(2)),
        Then(WAIT, None, Reason.NONE),
        searching=5,
    ),
    Case(
        SEARCH,
        "an old primary that last answered long ago may have been promoted again",
        (primary(1, ago=60), primary(2, steady=0.1)),
        Then(WAIT, None, Reason.SETTLING, recheck=0.1),
        searching=1,
    ),
    Case(
        SEARCH,
        "`settle` begins with the first answer",
        (primary(steady=0.1), never()),
        Then(WAIT, None, Reason.SETTLING, recheck=0.1),
        searching=3,
    ),
    Case(
        SEARCH,
        "`settle` begins again after the event loop was blocked: answers may be unread",
        (primary(steady=0.5), never()),
        Then(WAIT, None, Reason.SETTLING, recheck=0.15),
        searching=3,
        blocked_until=0.05,
    ),
    Case(
        SEARCH,
        "one host is back after an outage: the others may be back, too",
        (primary(steady=0.1), refused(standby(), ago=0.5)),
        Then(WAIT, None, Reason.SETTLING, recheck=0.1),
        searching=5,
    ),
    Case(
        SEARCH,
        "one host is back after an outage, and the others have failed since",
        (primary(steady=0.1), refused(standby())),
        Then(SWITCH, 0, Reason.FIRST),
        searching=5,
    ),
    Case(
        SEARCH,
        "a host that rejects our login is not waited for",
        (
            primary(steady=0.1),
            failed(standby(), FailureKind.CREDENTIALS, "rejects our login", ago=3),
        ),
        Then(SWITCH, 0, Reason.FIRST),
        searching=5,
    ),
    Case(
        STEADY,
        "it answers",
        (primary(), standby()),
        Then(STAY, 0, Reason.FINE),
        current=0,
    ),
    Case(
        STEADY,
        "one missed probe is not silence",
        (missed(writable()), writable()),
        Then(STAY, 0, Reason.FINE),
        current=0,
    ),
    Case(
        STEADY,
        "it has no free connection slot: moving would not help",
        (failed(primary(), FailureKind.SATURATED, "saturated"), standby()),
        Then(STAY, 0, Reason.FINE),
        current=0,
    ),
    Case(
        STEADY,
        "it rejects new logins, and existing connections go on",
        (failed(writable(), FailureKind.CREDENTIALS, "rejects the password"), writable()),
        Then(STAY, 0, Reason.UNVERIFIED),
        current=0,
    ),
    Case(
        STEADY,
        "its newest answer is too old: unknown is not bad",
        (writable(ago=10), writable()),
        Then(STAY, 0, Reason.UNVERIFIED),
        current=0,
    ),
    Case(
        STEADY,
        "it has not been probed yet",
        (never(), writable()),
        Then(STAY, 0, Reason.UNVERIFIED),
        current=0,
    ),
    Case(
        CRASH,
        "no other host qualifies yet",
        (refused(primary()), standby()),
        Then(LEAVE, 0, Reason.DOWN, abort=True),
        current=0,
    ),
    Case(
        CRASH,
        "another host has been promoted: its newer timeline needs no `settle`",
        (refused(primary(1)), primary(2)),
        Then(SWITCH, 1, Reason.NEWER_TIMELINE, abort=True),
        current=0,
    ),
    Case(
        CRASH,
        "another host has been promoted, and a third one is still a standby",
        (refused(primary(1)), primary(2), standby(1, ago=0.1)),
        Then(SWITCH, 1, Reason.NEWER_TIMELINE, abort=True),
        current=0,
    ),
    Case(
        CRASH,
        "another host has been promoted; a third, silent since, may have followed it",
        (refused(primary(1)), primary(2, steady=0.05), standby(1, ago=1)),
        Then(LEAVE, 0, Reason.STALE, abort=True),
        current=0,
    ),
    Case(
        CRASH,
        "another host qualifies, without a timeline to prove that it is the newer one",
        (refused(writable()), writable()),
        Then(LEAVE, 0, Reason.DOWN, abort=True),
        current=0,
    ),
    Case(
        CRASH,
        "it is the only host",
        (refused(primary()),),
        Then(LEAVE, 0, Reason.DOWN, abort=True),
        current=0,
    ),
    Case(
        CRASH,
        "it shuts down or starts: existing sessions may finish",
        (failed(primary(), FailureKind.STARTING, "shuts down"), standby()),
        Then(LEAVE, 0, Reason.STARTING),
        current=0,
    ),
    Case(
        CRASH,
        "it rejects our logins, and another host qualifies: existing sessions may finish",
        (failed(writable(), FailureKind.CREDENTIALS, "rejects our login", ago=1), writable()),
        Then(LEAVE, 0, Reason.REJECTED),
        current=0,
    ),
    Case(
        SILENCE,
        "no other host qualifies: it is given `stall_timeout`",
        (silent(primary(), 3), standby()),
        Then(STAY, 0, Reason.ONLY_ONE_LEFT, recheck=12),
        current=0,
    ),
    Case(
        SILENCE,
        "it is the only host",
        (silent(primary(), 3),),
        Then(STAY, 0, Reason.ONLY_ONE_LEFT, recheck=12),
        current=0,
    ),
    Case(
        SILENCE,
        "`stall_timeout` is over",
        (silent(primary(), 15), standby()),
        Then(LEAVE, 0, Reason.SILENT, abort=True),
        current=0,
    ),
    Case(
        SILENCE,
        "`stall_timeout` passed while this program was stopped and sent no probes",
        (silent_before(primary(), 60), standby(ago=60)),
        Then(STAY, 0, Reason.ONLY_ONE_LEFT),
        current=0,
        blocked_until=0.05,
    ),
    Case(
        SILENCE,
        "another host has been promoted",
        (silent(primary(1), 3), primary(2)),
        Then(SWITCH, 1, Reason.NEWER_TIMELINE, abort=True),
        current=0,
    ),
    Case(
        SILENCE,
        "another host qualifies",
        (silent(writable(), 3), writable()),
        Then(LEAVE, 0, Reason.SILENT, abort=True),
        current=0,
    ),
    Case(
        SILENCE,
        "the other host does not answer either: the network may be silent",
        (silent(writable(), 3), missed(writable())),
        Then(STAY, 0, Reason.ONLY_ONE_LEFT, recheck=12),
        current=0,
    ),
    Case(
        SILENCE,
        "the other host has not answered since the silence began",
        (silent(writable(), 3), writable(ago=4)),
        Then(STAY, 0, Reason.ONLY_ONE_LEFT, recheck=12),
        current=0,
    ),
    Case(
        DEMOTION,
        "it refuses writes, and no other host qualifies yet",
        (read_only_primary(), standby()),
        Then(LEAVE, 0, Reason.ROLE),
        current=0,
    ),
    Case(
        DEMOTION,
        "it refuses writes, and another host has been promoted",
        (read_only_primary(1), primary(2)),
        Then(SWITCH, 1, Reason.NEWER_TIMELINE, abort=True),
        current=0,
    ),
    Case(
        DEMOTION,
        "it has become a standby, and no other host qualifies yet",
        (standby(), standby()),
        Then(LEAVE, 0, Reason.ROLE),
        current=0,
    ),
    Case(
        DEMOTION,
        "it has become a standby, and another host has been promoted",
        (standby(1), primary(2)),
        Then(SWITCH, 1, Reason.NEWER_TIMELINE),
        current=0,
    ),
    Case(
        TIMELINES,
        "the other one has the newer timeline",
        (primary(1), primary(2)),
        Then(SWITCH, 1, Reason.NEWER_TIMELINE, abort=True),
        current=0,
    ),
    Case(
        TIMELINES,
        "an old primary comes back first in order, still writable",
        (primary(1), primary(2)),
        Then(STAY, 1, Reason.FINE),
        current=1,
    ),
    Case(
        TIMELINES,
        "`failback()` does not go back to the old primary",
        (primary(1), primary(2)),
        Then(STAY, 1, Reason.FINE),
        current=1,
        failback_now=True,
    ),
    Case(
        TIMELINES,
        "the primary of the newer timeline is down: a timeline is not forgotten",
        (primary(1), refused(primary(2))),
        Then(LEAVE, 0, Reason.STALE, abort=True),
        current=0,
    ),
    Case(
        TIMELINES,
        "a standby follows the newer timeline, and its primary does not answer",
        (primary(1), silent(standby(1), 3), standby(2)),
        Then(LEAVE, 0, Reason.STALE, abort=True),
        current=0,
    ),
    Case(
        TIMELINES,
        "there are three of them: the newest wins",
        (primary(1), primary(2), primary(3)),
        Then(SWITCH, 2, Reason.NEWER_TIMELINE, abort=True),
        current=0,
    ),
    Case(
        TIMELINES,
        "only the old primary answers",
        (primary(1), refused(primary(2))),
        Then(WAIT, None, Reason.NONE),
        searching=5,
    ),
    Case(
        TIMELINES,
        "both answer at the start",
        (primary(1), primary(2)),
        Then(SWITCH, 1, Reason.FIRST),
        searching=0.1,
        rules={"target": Target.ANY},
    ),
    Case(
        TIMELINES,
        "it is one server, set back: nobody is on the newer timeline any more",
        (replaced(primary(2), 11, primary(1)),),
        Then(SWITCH, 0, Reason.FIRST),
        searching=5,
    ),
    Case(
        TIMELINES,
        "it is one address, which led to the newer primary a moment ago",
        (replaced(primary(2), 3, primary(1)),),
        Then(WAIT, None, Reason.NONE),
        searching=5,
    ),
    Case(
        FOREIGN,
        "another host does: it is never used, whatever its timeline",
        (primary(9, system=OTHER_SYSTEM), primary(1)),
        Then(STAY, 1, Reason.FINE),
        current=1,
    ),
    Case(
        FOREIGN,
        "only that one answers",
        (refused(primary()), primary(system=OTHER_SYSTEM)),
        Then(WAIT, None, Reason.NONE),
        searching=5,
    ),
    Case(
        FOREIGN,
        "a server of another cluster answers at the address in use",
        (primary(system=OTHER_SYSTEM), standby()),
        Then(LEAVE, 0, Reason.FOREIGN, abort=True),
        current=0,
    ),
    Case(
        FOREIGN,
        "the cluster is rebuilt, and its standby has been off for long",
        (replaced(primary(), 30, primary(system=OTHER_SYSTEM)), gone(standby(), 20)),
        Then(SWITCH, 0, Reason.FIRST),
        searching=5,
    ),
    Case(
        FOREIGN,
        "a server of another cluster answers at the primary's address, and the standby is off",
        (replaced(primary(), 3, primary(system=OTHER_SYSTEM)), gone(standby(), 2)),
        Then(WAIT, None, Reason.NONE),
        searching=5,
    ),
    Case(
        FOREIGN,
        "all do: the cluster has been rebuilt",
        (primary(system=OTHER_SYSTEM),),
        Then(SWITCH, 0, Reason.FIRST),
        searching=5,
    ),
    Case(
        SESSIONS,
        "another host qualifies",
        (no_sessions(writable(), 0.5), writable()),
        Then(SWITCH, 1, Reason.NO_SESSIONS),
        current=0,
    ),
    Case(
        SESSIONS,
        "for less than half a second",
        (no_sessions(writable(), 0.2), writable()),
        Then(STAY, 0, Reason.FINE, recheck=0.3),
        current=0,
    ),
    Case(
        SESSIONS,
        "no other host qualifies",
        (no_sessions(primary(), 60), standby()),
        Then(STAY, 0, Reason.FINE),
        current=0,
    ),
    Case(
        SESSIONS,
        "no other host qualifies, and callers would wait for nothing",
        (no_sessions(primary(), 60), standby()),
        Then(LEAVE, 0, Reason.NO_SESSIONS),
        current=0,
        has_sessions=False,
    ),
    Case(
        SESSIONS,
        "during a search, the host that accepts none is not chosen",
        (no_sessions(writable(), 60), refused(writable())),
        Then(WAIT, None, Reason.NONE),
        searching=5,
    ),
    Case(
        SESSIONS,
        "it rejects our logins, no other host qualifies, and connections live",
        (failed(primary(), FailureKind.CREDENTIALS, "rejects our login"),),
        Then(STAY, 0, Reason.UNVERIFIED),
        current=0,
    ),
    Case(
        SESSIONS,
        "it rejects our logins, and callers would wait for nothing",
        (failed(primary(), FailureKind.CREDENTIALS, "rejects our login"),),
        Then(LEAVE, 0, Reason.REJECTED),
        current=0,
        has_sessions=False,
    ),
    Case(
        SESSIONS,
        "one dial failed: that may be a lost packet",
        (one_dial_failed(writable(), FailureKind.REFUSED), writable()),
        Then(STAY, 0, Reason.FINE),
        current=0,
    ),
    Case(
        SESSIONS,
        "one login was rejected: that is the server's own word",
        (one_dial_failed(writable(), FailureKind.CREDENTIALS), writable()),
        Then(SWITCH, 1, Reason.NO_SESSIONS),
        current=0,
    ),
    Case(
        SESSIONS,
        "it is full: moving would not help",
        (no_sessions(writable(), 60, FailureKind.SATURATED), writable()),
        Then(STAY, 0, Reason.FINE),
        current=0,
    ),
    Case(
        SESSIONS,
        "your `configure` fails: it would fail elsewhere, too",
        (no_sessions(writable(), 60, FailureKind.OTHER), writable()),
        Then(STAY, 0, Reason.FINE),
        current=0,
    ),
    Case(
        SESSIONS,
        "nobody has dialled it for a while",
        (
            Seen(
                "writable, role unknown; dials failed 10 s ago",
                writable().outcomes,
                ((11.0, FailureKind.REFUSED), (10.0, FailureKind.REFUSED)),
            ),
            writable(),
        ),
        Then(STAY, 0, Reason.FINE),
        current=0,
    ),
    Case(
        SESSIONS,
        "its logins wait for an answer, and another host qualifies",
        (no_sessions(writable(), 0.5, FailureKind.UNANSWERED), writable()),
        Then(SWITCH, 1, Reason.NO_SESSIONS),
        current=0,
    ),
    Case(
        SESSIONS,
        "its logins wait for an answer, and no other host qualifies: they may get it",
        (no_sessions(primary(), 60, FailureKind.UNANSWERED), standby()),
        Then(STAY, 0, Reason.FINE),
        current=0,
        has_sessions=False,
    ),
    Case(
        UNANSWERED,
        "statements are answered: a pooler has no server connection left for the probe",
        (unanswered(writable(), 60, "connections and statements", served=True), writable()),
        Then(STAY, 0, Reason.FINE),
        current=0,
    ),
    Case(
        UNANSWERED,
        "no statement is answered: a pooler may be paused",
        (unanswered(writable(), 3), writable()),
        Then(STAY, 0, Reason.FINE, recheck=12),
        current=0,
    ),
    Case(
        UNANSWERED,
        "no statement is answered for `stall_timeout`, and another host qualifies",
        (unanswered(writable(), 15), writable()),
        Then(SWITCH, 1, Reason.UNANSWERED),
        current=0,
    ),
    Case(
        UNANSWERED,
        "no statement is answered for `stall_timeout`, and no other host qualifies",
        (unanswered(primary(), 60), standby()),
        Then(STAY, 0, Reason.FINE),
        current=0,
    ),
    Case(
        UNANSWERED,
        "another host has been promoted",
        (unanswered(primary(), 3), primary(2)),
        Then(SWITCH, 1, Reason.NEWER_TIMELINE, abort=True),
        current=0,
    ),
    Case(
        UNANSWERED,
        "during a search, a host that does not say who it is is not chosen",
        (unanswered(primary(), 3), standby()),
        Then(WAIT, None, Reason.NONE),
        searching=5,
    ),
    Case(
        REMOVED,
        "the primary of a newer timeline is in it",
        (primary(), primary(2)),
        Then(SWITCH, 1, Reason.NEWER_TIMELINE, abort=True),
        current=0,
        removed=0,
    ),
    Case(
        REMOVED,
        "another host qualifies",
        (primary(), standby()),
        Then(SWITCH, 1, Reason.REMOVED),
        current=0,
        removed=0,
        rules={"target": Target.ANY},
    ),
    Case(
        REMOVED,
        "no other host qualifies: a new list can't cause an outage",
        (primary(), standby()),
        Then(STAY, 0, Reason.UNVERIFIED),
        current=0,
        removed=0,
    ),
    Case(
        REMOVED,
        "no other host qualifies, and it crashes",
        (refused(primary()), standby()),
        Then(LEAVE, 0, Reason.DOWN, abort=True),
        current=0,
        removed=0,
    ),
    Case(
        FAILBACK,
        "it is another primary on the same timeline: a rival",
        (another_primary(2), primary(2)),
        Then(STAY, 1, Reason.FINE),
        current=1,
    ),
    Case(
        FAILBACK,
        "it has not been stable for `failback_after` yet",
        (writable(steady=10), writable()),
        Then(STAY, 1, Reason.FINE, recheck=20),
        current=1,
    ),
    Case(
        FAILBACK,
        "it has been stable for `failback_after`",
        (writable(steady=30), writable()),
        Then(SWITCH, 0, Reason.PREFERRED),
        current=1,
    ),
    Case(
        FAILBACK,
        "the first of two has not been stable for long enough",
        (writable(steady=10), writable(steady=40), writable()),
        Then(SWITCH, 1, Reason.PREFERRED),
        current=2,
    ),
    Case(
        FAILBACK,
        "its pool could not be filled",
        (writable(), writable()),
        Then(STAY, 1, Reason.FINE, recheck=60),
        current=1,
        postponed={0: 60},
    ),
    Case(
        FAILBACK,
        "the pool of the first of two could not be filled",
        (writable(), writable(), writable()),
        Then(SWITCH, 1, Reason.PREFERRED),
        current=2,
        postponed={0: 60},
    ),
    Case(
        FAILBACK,
        "failback is manual",
        (writable(), writable()),
        Then(STAY, 1, Reason.FINE),
        current=1,
        rules={"failback": "manual"},
    ),
    Case(
        FAILBACK,
        "failback is manual, and called for",
        (writable(), writable()),
        Then(SWITCH, 0, Reason.PREFERRED),
        current=1,
        rules={"failback": "manual"},
        failback_now=True,
    ),
    Case(
        FAILBACK,
        "`failback()` does not wait for `failback_after`",
        (writable(steady=1), writable()),
        Then(SWITCH, 0, Reason.PREFERRED),
        current=1,
        failback_now=True,
    ),
    Case(
        FAILBACK,
        "`failback()` does not go to a host that missed its newest probe",
        (missed(writable()), writable()),
        Then(STAY, 1, Reason.FINE),
        current=1,
        failback_now=True,
    ),
    Case(
        FAILBACK,
        "its newest answer is too old",
        (writable(ago=10), writable()),
        Then(STAY, 1, Reason.FINE),
        current=1,
    ),
    Case(
        TARGETS,
        "any: the first host in order",
        (standby(), primary()),
        Then(SWITCH, 0, Reason.FIRST),
        searching=0.1,
        rules={"target": Target.ANY},
    ),
    Case(
        TARGETS,
        "primary: a primary that accepts writes",
        (standby(), read_only_primary(), primary()),
        Then(SWITCH, 2, Reason.FIRST),
        searching=0.1,
    ),
    Case(
        TARGETS,
        "read-write: a host that accepts writes",
        (standby(), read_only_primary(), writable()),
        Then(SWITCH, 2, Reason.FIRST),
        searching=0.1,
        rules={"target": Target.READ_WRITE},
    ),
    Case(
        TARGETS,
        "read-only: a host that refuses writes, be it a primary",
        (primary(), read_only_primary(), standby()),
        Then(SWITCH, 1, Reason.FIRST),
        searching=0.1,
        rules={"target": Target.READ_ONLY},
    ),
    Case(
        TARGETS,
        "standby: a standby only",
        (primary(), read_only_primary(), standby()),
        Then(SWITCH, 2, Reason.FIRST),
        searching=0.1,
        rules={"target": Target.STANDBY},
    ),
    Case(
        TARGETS,
        "standby: the one in use is promoted",
        (standby(), primary()),
        Then(LEAVE, 1, Reason.ROLE),
        current=1,
        rules={"target": Target.STANDBY},
    ),
    Case(
        TARGETS,
        "prefer-standby: a standby comes before a primary, whatever the order",
        (primary(), standby()),
        Then(SWITCH, 1, Reason.FIRST),
        searching=0.1,
        rules={"target": Target.PREFER_STANDBY},
    ),
    Case(
        TARGETS,
        "prefer-standby: a primary, when no standby qualifies",
        (primary(), refused(standby())),
        Then(SWITCH, 0, Reason.FIRST),
        searching=0.1,
        rules={"target": Target.PREFER_STANDBY},
    ),
    Case(
        TARGETS,
        "prefer-standby: a standby is back while a primary is in use",
        (primary(), standby(steady=10)),
        Then(STAY, 0, Reason.FINE, recheck=20),
        current=0,
        rules={"target": Target.PREFER_STANDBY},
    ),
)
