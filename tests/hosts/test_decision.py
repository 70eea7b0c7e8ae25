"""`decide` and `pace`: the table of cases, which docs/decisions.md shows, and what always holds."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pgmoor._core.hosts.host import Host, HostState, Observation, ServerInfo
from pgmoor._core.hosts.probe_pace import Situation, pace
from pgmoor._core.hosts.rules import FailoverRules, Target

from pgmoor._core.hosts.decision import Action, Decision, Reason, decide
from pgmoor._core.hosts.failures import Failure, FailureKind
from pgmoor._core.hosts.table import HostTable
from pgmoor.health import Role, Status
from render_decisions import PAGE, render, shown_on

NOW = 1000.0
SYSTEM = 7
OTHER_SYSTEM = 8


# -- what was seen of a host --------------------------------------------------------------------


@dataclass(frozen=True)
class Seen:
    """What was observed of one host, oldest first, and how the page says it."""

    words: str
    outcomes: tuple[tuple[float, ServerInfo | FailureKind], ...] = ()  # asked so many seconds ago

    def __str__(self) -> str:
        return self.words

    def observations(self, host: int) -> list[Observation]:
        return [observation(host, NOW - ago, outcome) for ago, outcome in self.outcomes]


def observation(host: int, asked_at: float, outcome: ServerInfo | FailureKind) -> Observation:
    if isinstance(outcome, ServerInfo):
        return Observation(host, asked_at, asked_at + 0.001, info=outcome)
    failure = Failure(outcome, outcome.value)
    return Observation(host, asked_at, asked_at + 0.001, failure=failure)


def answered(words: str, facts: ServerInfo, ago: float, steady: float) -> Seen:
    if ago != 0.05:
        words += f", {ago:g} s ago"
    elif steady != 60:
        words += f", for {steady:g} s"
    # The first answer came a moment after it was asked for; `steady` counts from the answer.
    return Seen(words, ((max(steady, ago) + 0.001, facts), (ago, facts)))


def primary(
    timeline: int = 1, *, ago: float = 0.05, steady: float = 60, system: int = SYSTEM
) -> Seen:
    words = f"primary, timeline {timeline}"
    if system != SYSTEM:
        words += ", other cluster"
    facts = ServerInfo(in_recovery=False, writable=True, timeline=timeline, system_id=system)
    return answered(words, facts, ago, steady)


def another_primary(timeline: int = 1, *, steady: float = 60) -> Seen:
    """Return what is seen of a second server that was promoted on the same timeline."""
    facts = ServerInfo(False, True, timeline, SYSTEM, started="later")
    return answered(f"another primary, timeline {timeline}", facts, 0.05, steady)


def read_only_primary(timeline: int = 1) -> Seen:
    facts = ServerInfo(in_recovery=False, writable=False, timeline=timeline, system_id=SYSTEM)
    return answered(f"read-only primary, timeline {timeline}", facts, 0.05, 60)


def standby(timeline: int = 1, *, ago: float = 0.05, steady: float = 60) -> Seen:
    facts = ServerInfo(in_recovery=True, writable=False, timeline=timeline, system_id=SYSTEM)
    return answered(f"standby, timeline {timeline}", facts, ago, steady)


def writable(*, ago: float = 0.05, steady: float = 60) -> Seen:
    """Return what is seen of a pooler or a multi-writer database, which has no roles."""
    return answered("writable, role unknown", ServerInfo(writable=True), ago, steady)


def failed(was: Seen, kind: FailureKind, words: str, *, ago: float = 0.05) -> Seen:
    return Seen(f"{words} (was {was})", (*was.outcomes[:1], (ago, kind)))


def never() -> Seen:
    return Seen("not asked yet")


def refused(was: Seen, *, ago: float = 0.05) -> Seen:
    words = "refuses" if ago == 0.05 else f"refused {ago:g} s ago"
    return failed(was, FailureKind.REFUSED, words, ago=ago)


def missed(was: Seen) -> Seen:
    return failed(was, FailureKind.TIMEOUT, "did not answer once")


def silent(was: Seen, seconds: float) -> Seen:
    timeouts = tuple((ago, FailureKind.TIMEOUT) for ago in (seconds, seconds / 2))
    return Seen(f"silent for {seconds:g} s (was {was})", (*was.outcomes[:1], *timeouts))


def silent_before(was: Seen, seconds: float) -> Seen:
    """Return what is known of a host that fell silent, and was not asked any more."""
    timeouts = tuple((seconds - at, FailureKind.TIMEOUT) for at in (0, 1))
    return Seen(
        f"did not answer {seconds:g} s and {seconds - 1:g} s ago, not asked since (was {was})",
        (*was.outcomes[:1], *timeouts),
    )


# -- the table ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Then:
    """The decision expected; *again* is the number of seconds after which it looks again."""

    action: Action
    host: int | None
    reason: Reason
    abort: bool = False
    again: float | None = None


@dataclass(frozen=True)
class Case:
    """One row: what is known, which host is in use (or how long one has been searched for)."""

    topic: str
    name: str
    hosts: tuple[Seen, ...]
    then: Then
    current: int | None = None
    searching: float | None = None  # seconds
    rules: dict[str, Any] = field(default_factory=dict)
    failback_now: bool = False
    stood_still: float | None = None  # until so many seconds ago
    taken_out: int | None = None  # of the list

    @property
    def settings(self) -> list[str]:
        """How the page shows what differs from the defaults."""
        shown = [
            f"{name}={value.value if isinstance(value, Target) else value}"
            for name, value in self.rules.items()
        ]
        if self.failback_now:
            shown.append("failback() was called")
        if self.stood_still is not None:
            shown.append(f"the event loop stood still until {self.stood_still:g} s ago")
        if self.taken_out is not None:
            shown.append(f"db{self.taken_out + 1} was taken out of the list")
        return shown

    def table(self) -> HostTable:
        table = table_of(len(self.hosts))
        table.system_id = SYSTEM
        seen = [item for index, host in enumerate(self.hosts) for item in host.observations(index)]
        for item in sorted(seen, key=lambda item: item.asked_at):
            table.apply(item)
        if self.taken_out is not None:
            left = [state.host for state in table if state.host.index != self.taken_out]
            table.revise(left, keep={self.taken_out})
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
            awake_since=NOW - (math.inf if self.stood_still is None else self.stood_still),
        )


def table_of(count: int) -> HostTable:
    return HostTable([Host(index, f"db{index + 1}", 5432) for index in range(count)])


STAY, SWITCH, LEAVE, WAIT = Action.STAY, Action.SWITCH, Action.LEAVE, Action.WAIT

SEARCH = "A host is searched for"
STEADY = "The host in use works, or nothing is known against it"
CRASH = "The host in use crashes or shuts down"
SILENCE = "The host in use falls silent"
DEMOTION = "The host in use is demoted"
TIMELINES = "Two hosts claim to be primary"
FOREIGN = "A host belongs to another database cluster"
REMOVED = "The host in use is taken out of the list"
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
        Then(WAIT, None, Reason.SETTLING, again=0.1),
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
        "all have answered: no need to wait",
        (primary(), standby()),
        Then(SWITCH, 0, Reason.FIRST),
        searching=0.1,
    ),
    Case(
        SEARCH,
        "the others have failed: no need to wait",
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
        Then(WAIT, None, Reason.SETTLING, again=0.1),
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
        "the one that would qualify did not answer when it was asked last",
        (missed(primary()), standby()),
        Then(WAIT, None, Reason.NONE),
        searching=0.3,
    ),
    Case(
        SEARCH,
        "a newer timeline than that of the host that was left ends the wait",
        (primary(1, ago=1), primary(2)),
        Then(SWITCH, 1, Reason.NEWER_TIMELINE),
        searching=0.1,
    ),
    Case(
        SEARCH,
        "a standby that has not answered may have been promoted since",
        (refused(primary(1)), primary(2), standby(2, ago=1)),
        Then(WAIT, None, Reason.SETTLING, again=0.1),
        searching=0.1,
    ),
    Case(
        SEARCH,
        "a standby on a newer timeline tells as much as its primary",
        (primary(1), standby(2)),
        Then(WAIT, None, Reason.NONE),
        searching=5,
    ),
    Case(
        SEARCH,
        "an old primary may have been promoted again since it was heard last",
        (primary(1, ago=60), primary(2, steady=0.1)),
        Then(WAIT, None, Reason.SETTLING, again=0.1),
        searching=1,
    ),
    Case(
        SEARCH,
        "`settle` begins when the first answer comes",
        (primary(steady=0.1), never()),
        Then(WAIT, None, Reason.SETTLING, again=0.1),
        searching=3,
    ),
    Case(
        SEARCH,
        "it begins anew when the event loop stood still: an answer may lie there, unread",
        (primary(steady=0.5), never()),
        Then(WAIT, None, Reason.SETTLING, again=0.15),
        searching=3,
        stood_still=0.05,
    ),
    Case(
        SEARCH,
        "the outage has ended for one host: it may have ended for the others, too",
        (primary(steady=0.1), refused(standby(), ago=0.5)),
        Then(WAIT, None, Reason.SETTLING, again=0.1),
        searching=5,
    ),
    Case(
        SEARCH,
        "the outage has ended for one host, and the others have failed since",
        (primary(steady=0.1), refused(standby())),
        Then(SWITCH, 0, Reason.FIRST),
        searching=5,
    ),
    Case(
        SEARCH,
        "a host that turns us away is not waited for",
        (
            primary(steady=0.1),
            failed(standby(), FailureKind.CREDENTIALS, "turns us away", ago=3),
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
        "one missed answer is not silence",
        (missed(writable()), writable()),
        Then(STAY, 0, Reason.FINE),
        current=0,
    ),
    Case(
        STEADY,
        "it has no connection slot free: moving would not help",
        (failed(primary(), FailureKind.SATURATED, "saturated"), standby()),
        Then(STAY, 0, Reason.FINE),
        current=0,
    ),
    Case(
        STEADY,
        "it turns new connections away, and those that exist go on",
        (failed(writable(), FailureKind.CREDENTIALS, "rejects the password"), writable()),
        Then(STAY, 0, Reason.UNVERIFIED),
        current=0,
    ),
    Case(
        STEADY,
        "what is known of it is too old: unknown is not bad",
        (writable(ago=10), writable()),
        Then(STAY, 0, Reason.UNVERIFIED),
        current=0,
    ),
    Case(
        STEADY,
        "it has not been asked yet",
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
        "another host has been promoted: its newer timeline needs no settling",
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
        "another host has been promoted; a third one, not heard since, may have followed it",
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
        "it shuts down or starts: sessions that exist may finish",
        (failed(primary(), FailureKind.STARTING, "shuts down"), standby()),
        Then(LEAVE, 0, Reason.STARTING),
        current=0,
    ),
    Case(
        CRASH,
        "it turns us away, and another host qualifies: sessions that exist may finish",
        (failed(writable(), FailureKind.CREDENTIALS, "turns us away", ago=1), writable()),
        Then(LEAVE, 0, Reason.REJECTED),
        current=0,
    ),
    Case(
        SILENCE,
        "no other host qualifies: it is given `stall_timeout`",
        (silent(primary(), 3), standby()),
        Then(STAY, 0, Reason.ONLY_ONE_LEFT, again=12),
        current=0,
    ),
    Case(
        SILENCE,
        "it is the only host",
        (silent(primary(), 3),),
        Then(STAY, 0, Reason.ONLY_ONE_LEFT, again=12),
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
        "`stall_timeout` has passed while this program stood still, and asked nobody",
        (silent_before(primary(), 60), standby(ago=60)),
        Then(STAY, 0, Reason.ONLY_ONE_LEFT),
        current=0,
        stood_still=0.05,
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
        "the other host did not answer either: the network is what is silent",
        (silent(writable(), 3), missed(writable())),
        Then(STAY, 0, Reason.ONLY_ONE_LEFT, again=12),
        current=0,
    ),
    Case(
        SILENCE,
        "the other host has not answered since the silence began",
        (silent(writable(), 3), writable(ago=4)),
        Then(STAY, 0, Reason.ONLY_ONE_LEFT, again=12),
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
        "the old primary is not gone back to, not even when asked",
        (primary(1), primary(2)),
        Then(STAY, 1, Reason.FINE),
        current=1,
        failback_now=True,
    ),
    Case(
        TIMELINES,
        "the primary of the newer timeline is away: a timeline is not forgotten",
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
        "something else answers at the address in use",
        (primary(system=OTHER_SYSTEM), standby()),
        Then(LEAVE, 0, Reason.FOREIGN, abort=True),
        current=0,
    ),
    Case(
        FOREIGN,
        "all do: the cluster has been rebuilt",
        (primary(system=OTHER_SYSTEM),),
        Then(SWITCH, 0, Reason.FIRST),
        searching=5,
    ),
    Case(
        REMOVED,
        "the primary of a newer timeline is in it",
        (primary(), primary(2)),
        Then(SWITCH, 1, Reason.NEWER_TIMELINE, abort=True),
        current=0,
        taken_out=0,
    ),
    Case(
        REMOVED,
        "another host qualifies",
        (primary(), standby()),
        Then(SWITCH, 1, Reason.REMOVED),
        current=0,
        taken_out=0,
        rules={"target": Target.ANY},
    ),
    Case(
        REMOVED,
        "no other one does: the list can't cause an outage",
        (primary(), standby()),
        Then(STAY, 0, Reason.UNVERIFIED),
        current=0,
        taken_out=0,
    ),
    Case(
        REMOVED,
        "no other one does, and it crashes",
        (refused(primary()), standby()),
        Then(LEAVE, 0, Reason.DOWN, abort=True),
        current=0,
        taken_out=0,
    ),
    Case(
        FAILBACK,
        "it is another primary on the same timeline, which is no equal",
        (another_primary(2), primary(2)),
        Then(STAY, 1, Reason.FINE),
        current=1,
    ),
    Case(
        FAILBACK,
        "it has not been stable for `failback_after` yet",
        (writable(steady=10), writable()),
        Then(STAY, 1, Reason.FINE, again=20),
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
        "nobody asked for it",
        (writable(), writable()),
        Then(STAY, 1, Reason.FINE),
        current=1,
        rules={"failback": "manual"},
    ),
    Case(
        FAILBACK,
        "somebody asked for it",
        (writable(), writable()),
        Then(SWITCH, 0, Reason.PREFERRED),
        current=1,
        rules={"failback": "manual"},
        failback_now=True,
    ),
    Case(
        FAILBACK,
        "somebody asked for it before `failback_after`",
        (writable(steady=1), writable()),
        Then(SWITCH, 0, Reason.PREFERRED),
        current=1,
        failback_now=True,
    ),
    Case(
        FAILBACK,
        "somebody asked for it, but it did not answer when it was asked last",
        (missed(writable()), writable()),
        Then(STAY, 1, Reason.FINE),
        current=1,
        failback_now=True,
    ),
    Case(
        FAILBACK,
        "what is known of it is too old",
        (writable(ago=10), writable()),
        Then(STAY, 1, Reason.FINE),
        current=1,
    ),
    Case(
        TARGETS,
        "any host will do",
        (standby(), primary()),
        Then(SWITCH, 0, Reason.FIRST),
        searching=0.1,
        rules={"target": Target.ANY},
    ),
    Case(
        TARGETS,
        "a primary accepts writes",
        (standby(), read_only_primary(), primary()),
        Then(SWITCH, 2, Reason.FIRST),
        searching=0.1,
    ),
    Case(
        TARGETS,
        "a host that accepts writes",
        (standby(), read_only_primary(), writable()),
        Then(SWITCH, 2, Reason.FIRST),
        searching=0.1,
        rules={"target": Target.READ_WRITE},
    ),
    Case(
        TARGETS,
        "a host that refuses writes may be a primary",
        (primary(), read_only_primary(), standby()),
        Then(SWITCH, 1, Reason.FIRST),
        searching=0.1,
        rules={"target": Target.READ_ONLY},
    ),
    Case(
        TARGETS,
        "a standby may not",
        (primary(), read_only_primary(), standby()),
        Then(SWITCH, 2, Reason.FIRST),
        searching=0.1,
        rules={"target": Target.STANDBY},
    ),
    Case(
        TARGETS,
        "the standby that is in use is promoted",
        (standby(), primary()),
        Then(LEAVE, 1, Reason.ROLE),
        current=1,
        rules={"target": Target.STANDBY},
    ),
    Case(
        TARGETS,
        "a standby comes before a primary, whatever the order",
        (primary(), standby()),
        Then(SWITCH, 1, Reason.FIRST),
        searching=0.1,
        rules={"target": Target.PREFER_STANDBY},
    ),
    Case(
        TARGETS,
        "a primary will do when there is no standby",
        (primary(), refused(standby())),
        Then(SWITCH, 0, Reason.FIRST),
        searching=0.1,
        rules={"target": Target.PREFER_STANDBY},
    ),
    Case(
        TARGETS,
        "a standby is back while the primary is in use",
        (primary(), standby(steady=10)),
        Then(STAY, 0, Reason.FINE, again=20),
        current=0,
        rules={"target": Target.PREFER_STANDBY},
    ),
)


@pytest.mark.parametrize("case", CASES, ids=[f"{case.topic}: {case.name}" for case in CASES])
def test_each_case_is_decided_as_the_page_says(case: Case) -> None:
    decision = case.decide()

    again = None if decision.recheck_at is None else decision.recheck_at - NOW
    got = Then(decision.action, decision.host, decision.reason, decision.abort)
    assert got == replace(case.then, again=None)
    assert again == pytest.approx(case.then.again)


def test_the_page_shows_the_table_of_cases() -> None:
    assert shown_on(PAGE.read_text()) == render(CASES), "run tests/render_decisions.py --write"


def test_each_case_is_there_once() -> None:
    assert len({(case.topic, case.name, str(case.settings)) for case in CASES}) == len(CASES)


# -- what always holds --------------------------------------------------------------------------

TIMELINES_SEEN = st.sampled_from([1, 2, 3])
primaries = st.builds(
    ServerInfo,
    in_recovery=st.just(False),
    writable=st.booleans(),
    timeline=TIMELINES_SEEN,
    system_id=st.sampled_from([SYSTEM, SYSTEM, SYSTEM, OTHER_SYSTEM]),
)
standbys = st.builds(
    ServerInfo,
    in_recovery=st.just(True),
    writable=st.just(False),
    timeline=TIMELINES_SEEN,
    system_id=st.just(SYSTEM),
    lag=st.none() | st.floats(0, 100),
)
plain = st.builds(ServerInfo, writable=st.sampled_from([True, True, False, None]))
any_facts = st.builds(
    ServerInfo,
    in_recovery=st.none() | st.booleans(),
    writable=st.none() | st.booleans(),
    timeline=st.none() | TIMELINES_SEEN,
    system_id=st.sampled_from([None, SYSTEM, OTHER_SYSTEM]),
)
facts = primaries | primaries | standbys | plain | any_facts
failures = st.just(FailureKind.TIMEOUT) | st.sampled_from(FailureKind)
outcomes = facts | facts | failures
# Tenths of a second before now, so that equal instants come up, too; most of them recent.
instants = (st.integers(0, 15) | st.integers(0, 200)).map(lambda tenths: NOW - tenths / 10)


@dataclass(frozen=True)
class World:
    """All that `decide` is given, and all that was observed, in the order of arrival."""

    table: HostTable
    seen: list[Observation]
    rules: FailoverRules
    current: int | None
    since: float | None
    failback_now: bool

    def decide(self) -> Decision:
        return decide(
            self.table,
            self.rules,
            self.current,
            self.since,
            NOW,
            failback_now=self.failback_now,
        )

    def after(self, decision: Decision) -> World:
        """Return the world after the decision was carried out, at the same instant."""
        if decision.action is Action.SWITCH:
            assert decision.host is not None
            self.table.adopt(decision.host)
            return replace(self, current=decision.host, since=None, failback_now=False)
        if decision.action is Action.LEAVE:
            return replace(self, current=None, since=NOW, failback_now=False)
        return self

    def newest_claim(self, state: HostState) -> int:
        """Return the newest timeline on which a server of the host's cluster was ever seen."""
        facts = [item.info for item in self.seen if item.info]
        return max(
            (
                item.timeline
                for item in facts
                if item.timeline is not None and item.system_id == state.system_id
            ),
            default=0,
        )


@st.composite
def worlds(draw: st.DrawFn, *, in_use: bool | None = None) -> World:
    count = draw(st.integers(1, 4))
    table = table_of(count)
    table.system_id = draw(st.sampled_from([None, SYSTEM, SYSTEM, OTHER_SYSTEM]))
    steps = st.tuples(st.integers(0, count - 1), instants, outcomes)
    most = draw(st.lists(steps, max_size=8))
    # Each host has answered or failed at least once, but for some.
    once = [(host, draw(instants), draw(outcomes)) for host in range(count) if draw(st.booleans())]
    seen = [observation(*step) for step in [*most, *once]]
    if draw(st.sampled_from([True, True, False])):
        seen.sort(key=lambda item: item.asked_at)
    for item in seen:
        table.apply(item)
    if in_use is None:
        in_use = draw(st.booleans())
    return World(
        table,
        seen,
        FailoverRules(
            target=draw(st.sampled_from(Target)),
            failback=draw(st.sampled_from(["auto", "manual"])),
            failback_after=draw(st.sampled_from([0.0, 1.0, 30.0])),
            settle=draw(st.sampled_from([0.0, 0.2, 5.0])),
            stall_timeout=draw(st.sampled_from([0.1, 5.0, 15.0])),
            expiry=draw(st.sampled_from([0.5, 6.0, 60.0])),
        ),
        current=draw(st.integers(0, count - 1)) if in_use else None,
        since=None if in_use else draw(st.none() | instants),
        failback_now=draw(st.booleans()),
    )


many = settings(max_examples=300, deadline=None)


def satisfies(target: Target, state: HostState) -> bool:
    is_standby = state.role is Role.STANDBY
    if target in (Target.ANY, Target.PREFER_STANDBY):
        return True
    if target is Target.STANDBY:
        return is_standby
    if target is Target.READ_ONLY:
        return is_standby or state.writable is False
    return not is_standby and state.writable is not False


def qualifies(world: World, state: HostState, *, since: float = float("-inf")) -> bool:
    """Return whether a host may be gone to: it answered, lately, and what it said fits."""
    return (
        state.status is Status.UP
        and state.misses == 0
        and state.asked_at >= max(since, NOW - world.rules.expiry)
        and satisfies(world.rules.target, state)
        and not world.table.is_stale(state)
        and not world.table.is_foreign(state)
    )


@many
@given(worlds(), st.floats(allow_nan=False, allow_infinity=False))
def test_a_decision_comes_of_any_evidence_at_any_time(world: World, now: float) -> None:
    decision = decide(
        world.table, world.rules, world.current, world.since, now, failback_now=world.failback_now
    )

    in_use = world.current is not None
    assert decision.action in ((STAY, SWITCH, LEAVE) if in_use else (SWITCH, WAIT))
    assert (decision.host is None) == (decision.action is WAIT)


@many
@given(worlds())
def test_no_primary_is_chosen_or_kept_once_a_newer_timeline_was_seen(world: World) -> None:
    decision = world.decide()

    if decision.action in (Action.SWITCH, Action.STAY):
        assert decision.host is not None
        state = world.table[decision.host]
        if state.role is Role.PRIMARY and state.timeline is not None:
            assert state.timeline >= world.newest_claim(state)


@many
@given(worlds())
def test_a_host_that_is_switched_to_has_answered_lately_and_fits(world: World) -> None:
    decision = world.decide()

    if decision.action is Action.SWITCH:
        assert decision.host is not None
        assert decision.host != world.current
        assert qualifies(world, world.table[decision.host])


@many
@given(worlds(in_use=True))
def test_an_unknown_or_silent_host_without_alternative_is_not_left(world: World) -> None:
    decision = world.decide()

    assert world.current is not None
    state = world.table[world.current]
    silent_for = NOW - state.silent_since if state.silent_since is not None else 0.0
    patient = state.status is Status.UNKNOWN or (
        state.status is Status.SILENT
        and silent_for < world.rules.stall_timeout
        and not any(
            qualifies(world, other, since=state.silent_since or 0.0)
            for other in world.table
            if other is not state
        )
    )
    fenced = world.table.is_stale(state) or world.table.is_foreign(state)
    if patient and not fenced:
        assert decision.action is Action.STAY


@many
@given(worlds())
def test_decisions_carried_out_at_one_instant_end_and_return_to_no_host(world: World) -> None:
    visited = [] if world.current is None else [world.current]

    while (decision := world.decide()).action not in (Action.STAY, Action.WAIT):
        if decision.action is Action.SWITCH:
            assert decision.host is not None
            assert decision.host not in visited
            visited.append(decision.host)
        world = world.after(decision)


@many
@given(worlds())
def test_the_instant_to_look_again_lies_ahead(world: World) -> None:
    decision = world.decide()

    assert decision.recheck_at is None or decision.recheck_at > NOW


@many
@given(worlds())
def test_the_same_evidence_gives_the_same_decision(world: World) -> None:
    assert world.decide() == world.decide()


@many
@given(worlds(in_use=False))
def test_a_search_ends_when_a_fitting_host_has_answered_and_settle_is_over(world: World) -> None:
    since = NOW - world.rules.settle
    world = replace(world, since=since)

    decision = world.decide()

    if any(
        qualifies(world, state, since=since)
        and not state.failure
        and state.steady_since is not None
        and state.steady_since <= since
        for state in world.table
    ):
        assert decision.action is Action.SWITCH


# -- pace ---------------------------------------------------------------------------------------

PLACE = Host(0, "db1", 5432)
UP = HostState(PLACE, status=Status.UP)
DOWN = HostState(PLACE, status=Status.DOWN)
SILENT = HostState(PLACE, status=Status.SILENT)
STARTING = HostState(PLACE, status=Status.STARTING)
REJECTED = HostState(PLACE, status=Status.REJECTED)
CALM = Situation()
IN_DOUBT = Situation(unsure_since=NOW)
SEARCHING = Situation(searching=True, unsure_since=NOW)
GAVE_UP = Situation(searching=True, unsure_since=NOW, given_up=True)


@pytest.mark.parametrize(
    ("state", "situation", "seconds", "expected"),
    [
        pytest.param(UP, CALM, 0, 1.0, id="a host that is up, once in an interval"),
        pytest.param(DOWN, CALM, 0, 1.0, id="a host that is down and not needed, as often"),
        pytest.param(UP, IN_DOUBT, 0, 0.01, id="a burst begins 10 ms apart"),
        pytest.param(UP, IN_DOUBT, 1, 0.05, id="a burst slows down"),
        pytest.param(UP, IN_DOUBT, 60, 0.1, id="a burst does not slow down beyond 100 ms"),
        pytest.param(DOWN, IN_DOUBT, 0, 0.01, id="the other hosts, too, while there is doubt"),
        pytest.param(UP, SEARCHING, 60, 0.1, id="in an outage, those that may be promoted"),
        pytest.param(STARTING, SEARCHING, 60, 0.1, id="in an outage, those that are starting"),
        pytest.param(DOWN, SEARCHING, 60, None, id="in an outage, not those that are down"),
        pytest.param(SILENT, SEARCHING, 60, None, id="in an outage, not those that are silent"),
        pytest.param(REJECTED, CALM, 0, 5.0, id="a host that rejects us, once in 5 s"),
        pytest.param(REJECTED, IN_DOUBT, 0, 5.0, id="no burst against a host that rejects us"),
        pytest.param(REJECTED, SEARCHING, 0, 5.0, id="nor in an outage"),
        pytest.param(UP, GAVE_UP, 0, None, id="nobody, after having given up"),
    ],
)
def test_the_pace_of_probes(
    state: HostState, situation: Situation, seconds: float, expected: float | None
) -> None:
    assert pace(state, situation, 1.0, NOW + seconds) == pytest.approx(expected)


def test_a_burst_is_never_slower_than_the_interval() -> None:
    assert pace(UP, IN_DOUBT, 0.05, NOW + 60) == 0.05


def test_a_host_that_rejects_us_is_asked_at_the_interval_if_that_is_longer() -> None:
    assert pace(REJECTED, CALM, 60.0, NOW) == 60.0


@many
@given(worlds(), st.floats(allow_nan=False, allow_infinity=False), st.booleans(), st.booleans())
def test_a_pace_is_positive_or_left_to_others(
    world: World, since: float, searching: bool, given_up: bool
) -> None:
    situation = Situation(searching=searching, unsure_since=since, given_up=given_up)

    delays = [pace(state, situation, 1.0, NOW) for state in world.table]

    assert all(delay is None or 0 < delay <= 5.0 for delay in delays)
