"""What is told of what happened, and when: events at instants, the titles of the messages."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, get_args

import pytest

from pgmoor.alerts._kinds import SEVERITIES, AlertRules, Kind
from pgmoor.alerts._phrases import Plan
from pgmoor.events import (
    Connected,
    DialFailed,
    Event,
    Failback,
    Failover,
    ForeignHost,
    GaveUp,
    HeldTooLong,
    HostDown,
    HostsChanged,
    HostUp,
    OutageEnded,
    OutageStarted,
    PoolSaturated,
    RoleChanged,
    SplitBrain,
    Stalled,
    StallEnded,
)
from stories import HOSTS, Story

if TYPE_CHECKING:
    from collections.abc import Mapping

DB1, DB2 = HOSTS
REFUSED = "Connection refused"
WRONG = 'password authentication failed for user "app"'

UP = (HostUp(host=DB1, role="primary"), HostUp(host=DB2, role="standby"))
DOWN = HostDown(host=DB1, status="down", reason=REFUSED)
NOBODY = OutageStarted(reason="")
MOVED = Failover(before=DB1, after=DB2, reason="it is down", seconds=0.06)
PROMOTED = RoleChanged(host=DB2, before="standby", after="primary")
REJECTED = HostDown(host=DB1, status="rejected", reason=WRONG)
SPLIT = SplitBrain(host=DB1, timeline=1, newest_timeline=2)
FULL = PoolSaturated(refused=3, used=10, waiting=7, max_size=10, holders="task-1 for 9.0 s")
NO_SLOT = DialFailed(host=DB1, kind="saturated", reason="too many clients already")

OUTAGE = "database outage, db1:5432 down, db2:5432 standby"


def ended(seconds: float, host: str = DB1) -> OutageEnded:
    return OutageEnded(host=host, seconds=seconds)


def held(task: str) -> HeldTooLong:
    stack = '  File "/app/orders.py", line 42, in bill\n    await charge(card="4111")\n'
    return HeldTooLong(task=task, seconds=312.0, stack=stack)


@dataclass
class Case:
    """A story, and how it is told."""

    name: str
    events: Mapping[float, Event | tuple[Event, ...]]
    told: list[tuple[float, str]]
    end: float = 100.0
    hosts: tuple[str, ...] = HOSTS
    rules: AlertRules = field(default_factory=AlertRules)


ONE = (DB1,)

CASES = [
    Case("all is well", {0: UP, 1: Connected(host=DB1, seconds=0.1)}, []),
    # -- an outage -------------------------------------------------------------------------------
    Case(
        "an outage is told when it has lasted, and when it is over",
        {0: UP, 10: DOWN, 10.2: NOBODY, 40: HostUp(host=DB1, role="primary"), 40.1: ended(30)},
        [(15.2, OUTAGE), (40.1, "database back after 30 s, db1:5432")],
    ),
    Case("a shorter one is not told", {0: UP, 10: DOWN, 10.2: NOBODY, 15.1: ended(4.9)}, []),
    Case(
        "of one host the title says what is wrong with it",
        {10: DOWN, 10.2: NOBODY},
        [(15.2, "database outage, db1:5432 down (Connection refused)")],
        hosts=ONE,
    ),
    Case(
        "of many hosts it says how many they are",
        {10: NOBODY},
        [(15, "database outage, none of 4 hosts will do")],
        hosts=("a:1", "b:1", "c:1", "d:1"),
    ),
    Case(
        "at once, if so it is wished",
        {10: NOBODY, 11: ended(1)},
        [
            (10, "database outage, db1:5432 not asked yet, db2:5432 not asked yet"),
            (11, "database back after 1 s, db1:5432"),
        ],
        rules=AlertRules(after=0.0),
    ),
    Case(
        "it is told again each half hour",
        {0: UP, 10: DOWN, 10.2: NOBODY, 4000: ended(3990)},
        [
            (15.2, OUTAGE),
            (1815.2, f"still after 30 min 5 s: {OUTAGE}"),
            (3615.2, f"still after 1 h: {OUTAGE}"),
            (4000, "database back after 1 h 6 min, db1:5432"),
        ],
        end=9000,
    ),
    Case(
        "or not, if so it is wished",
        {0: UP, 10: DOWN, 10.2: NOBODY},
        [(15.2, OUTAGE)],
        end=9000,
        rules=AlertRules(remind=None),
    ),
    Case(
        "giving up is told at once, and instead of the outage",
        {0: UP, 10: DOWN, 10.2: NOBODY, 12: GaveUp(tries=5, seconds=2.0), 60: ended(50)},
        [
            (12, "gave up, db1:5432 down, db2:5432 standby"),
            (60, "database back after 50 s, db1:5432"),
        ],
    ),
    Case(
        "an outage that goes on after a new search is the same",
        {
            10: (NOBODY, GaveUp(tries=1, seconds=0.1)),
            30: NOBODY,
            32: GaveUp(tries=1, seconds=0.1),
            60: ended(50),
        },
        [
            (10, "gave up, db1:5432 not asked yet, db2:5432 not asked yet"),
            (32, "gave up, db1:5432 not asked yet, db2:5432 not asked yet"),
            (60, "database back after 50 s, db1:5432"),
        ],
    ),
    # -- a stall ---------------------------------------------------------------------------------
    Case(
        "a stall is told when it has lasted",
        {10: Stalled(host=DB1), 20: StallEnded(host=DB1, seconds=11)},
        [
            (15, "db1:5432 does not answer"),
            (20, "db1:5432 answers again, after 10 s"),
        ],
    ),
    Case("a short one is not", {10: Stalled(host=DB1), 12: StallEnded(host=DB1, seconds=2)}, []),
    Case(
        "a stall that becomes an outage has lasted from its beginning",
        {10: Stalled(host=DB1), 13: NOBODY, 20: ended(7)},
        [
            (15, "database outage, db1:5432 not asked yet, db2:5432 not asked yet"),
            (20, "database back after 10 s, db1:5432"),
        ],
    ),
    # -- from host to host -----------------------------------------------------------------------
    Case(
        "a failover is one message",
        {0: UP, 10: (DOWN, PROMOTED, MOVED), 70: HostUp(host=DB1, role="standby", down_for=60.0)},
        [(10, "failed over from db1:5432 to db2:5432")],
    ),
    Case(
        "also when for a moment there was no host",
        {0: UP, 10: DOWN, 10.2: NOBODY, 10.9: (PROMOTED, MOVED, ended(0.9, DB2))},
        [(10.9, "failed over from db1:5432 to db2:5432")],
    ),
    Case(
        "one that ends an outage is told with its end",
        {0: UP, 10: DOWN, 10.2: NOBODY, 30: (PROMOTED, MOVED, ended(20, DB2))},
        [(15.2, OUTAGE), (30, "database back after 20 s, failed over to db2:5432")],
    ),
    Case(
        "one that ends an outage which is not to be told is told itself",
        {0: UP, 10: DOWN, 10.2: NOBODY, 30: (PROMOTED, MOVED, ended(20, DB2))},
        [(30, "failed over from db1:5432 to db2:5432")],
        rules=AlertRules(severities={**SEVERITIES, "outage": None}),
    ),
    Case(
        "a failover away from a stalled host leaves nothing to tell",
        {0: UP, 10: Stalled(host=DB1), 12: (PROMOTED, MOVED)},
        [(12, "failed over from db1:5432 to db2:5432")],
    ),
    Case(
        "going back is told",
        {0: UP, 10: Failback(before=DB2, after=DB1)},
        [(10, "going back from db2:5432 to db1:5432")],
    ),
    # -- one host --------------------------------------------------------------------------------
    Case(
        "a rejection is told when it has lasted, and its end",
        {0: UP, 10: REJECTED, 60: HostUp(host=DB1, role="primary")},
        [(15, "db1:5432 turns us away"), (60, "db1:5432 accepts us again, after 50 s")],
    ),
    Case("not a short one", {10: REJECTED, 12: HostUp(host=DB1, role="primary")}, []),
    Case(
        "a rejection that is an outage is told as that",
        {10: REJECTED, 10.2: NOBODY, 60: HostUp(host=DB1, role="primary"), 60.1: ended(50)},
        [
            (15.2, f"database outage, db1:5432 turns us away ({WRONG})"),
            (60.1, "database back after 50 s, db1:5432"),
        ],
        hosts=ONE,
    ),
    Case(
        "unless outages are not to be told",
        {10: REJECTED, 10.2: NOBODY},
        [(15, "db1:5432 turns us away")],
        rules=AlertRules(severities={**SEVERITIES, "outage": None}),
    ),
    Case(
        "a rejection from which we went elsewhere is told with the failover",
        {0: UP, 10: (REJECTED, PROMOTED, MOVED), 60: HostUp(host=DB1, role="standby")},
        [
            (10, "failed over from db1:5432 to db2:5432"),
            (60, "db1:5432 accepts us again, after 50 s"),
        ],
    ),
    Case(
        "a rejection that outlasts a short outage is told after all",
        {10: REJECTED, 10.2: NOBODY, 13: ended(3, DB2)},
        [(15, "db1:5432 turns us away")],
    ),
    Case(
        "a server that turns away only new connections is told of, until it does no more",
        {10: DialFailed(host=DB1, kind="credentials", reason=WRONG)},
        [(15, "db1:5432 turns us away"), (160, "db1:5432 no longer turns us away")],
        end=900,
    ),
    Case(
        "a lost host that is not in use is not told of",
        {0: UP, 10: HostDown(host=DB2, status="down", reason=REFUSED)},
        [],
    ),
    Case(
        "unless so it is wished",
        {
            0: UP,
            10: HostDown(host=DB2, status="silent", reason="no answer within 1 s"),
            12: HostDown(host=DB2, status="down", reason=REFUSED),
            60: HostUp(host=DB2, role="standby"),
        },
        [
            (15, "db2:5432 down (Connection refused)"),
            (60, "db2:5432 can be used again, after 50 s"),
        ],
        rules=AlertRules(severities={**SEVERITIES, "host_down": "warning"}),
    ),
    Case(
        "then a failover tells of it, too",
        {0: UP, 10: (DOWN, PROMOTED, MOVED), 70: HostUp(host=DB1, role="standby")},
        [
            (10, "failed over from db1:5432 to db2:5432"),
            (70, "db1:5432 can be used again, after 1 min"),
        ],
        rules=AlertRules(severities={**SEVERITIES, "host_down": "warning"}),
    ),
    Case(
        "a split brain is told at once, each half hour, and its end",
        {0: UP, 10: SPLIT, 2000: RoleChanged(host=DB1, before="primary", after="standby")},
        [
            (10, "split brain, db1:5432 claims to be primary"),
            (1810, "still after 30 min: split brain, db1:5432 claims to be primary"),
            (2000, "db1:5432 no longer claims to be primary, after 33 min 10 s"),
        ],
        end=9000,
    ),
    Case(
        "a stale primary that is restarted as one is a split brain again",
        {0: UP, 10: SPLIT, 20: DOWN, 30: HostUp(host=DB1, role="primary")},
        [
            (10, "split brain, db1:5432 claims to be primary"),
            (20, "db1:5432 no longer claims to be primary, after 10 s"),
            (30, "split brain, db1:5432 claims to be primary"),
        ],
    ),
    Case(
        "one that is restarted as a standby is not",
        {
            0: UP,
            10: SPLIT,
            20: DOWN,
            30: HostUp(host=DB1, role="standby"),
            40: DOWN,
            50: HostUp(host=DB1, role="primary"),
        },
        [
            (10, "split brain, db1:5432 claims to be primary"),
            (20, "db1:5432 no longer claims to be primary, after 10 s"),
        ],
    ),
    Case(
        "a host of another cluster is told of once",
        {10: ForeignHost(host=DB2)},
        [(10, "db2:5432 belongs to another cluster")],
        end=9000,
    ),
    Case(
        "a host that has left the list is told of no more",
        {
            0: UP,
            10: (SPLIT, HostDown(host=DB2, status="rejected", reason=WRONG)),
            12: HostsChanged(hosts=("db3:5432",), added=("db3:5432",), gone=HOSTS),
            20: (HostUp(host=DB1, role="primary"), NOBODY),
        },
        [
            (10, "split brain, db1:5432 claims to be primary"),
            (25, "database outage, db3:5432 not asked yet, db1:5432 primary"),
        ],
        end=9000,
        rules=AlertRules(remind=None),
    ),
    # -- the pool --------------------------------------------------------------------------------
    Case(
        "an exhausted pool is told at once, and when nobody is refused any more",
        {10: FULL, 70: FULL, 130: FULL},
        [(10, "pool exhausted, 3 callers got no connection"), (280, "pool no longer exhausted")],
        end=900,
    ),
    Case(
        "a server without a free slot is told of when it lasts, until no dial fails any more",
        {10: NO_SLOT, 70: NO_SLOT},
        [(15, "no new connections to db1:5432"), (220, "db1:5432 accepts new connections")],
        end=900,
    ),
    Case(
        "what an outage explains is not told besides",
        {10: (NO_SLOT, NOBODY), 12: NO_SLOT},
        [(15, "database outage, db1:5432 not asked yet, db2:5432 not asked yet")],
        end=60,
    ),
    Case(
        "leaks are told together",
        {10: (held("bill-1"), held("bill-2")), 12: held("bill-3"), 100: held("bill-4")},
        [
            (15, "3 connections held too long"),
            (105, "connection held for 5 min 12 s by bill-4"),
        ],
        end=200,
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_story_is_told(case: Case) -> None:
    story = Story(case.rules, hosts=case.hosts)

    story.play(case.events, case.end)

    assert story.titles() == case.told


def test_every_kind_has_a_severity_that_can_be_changed_or_left_out() -> None:
    assert set(SEVERITIES) == set(get_args(Kind))


@pytest.mark.parametrize(
    ("kind", "event"),
    [
        ("outage", NOBODY),
        ("gave_up", GaveUp(tries=1, seconds=1.0)),
        ("stall", Stalled(host=DB1)),
        ("failover", MOVED),
        ("failback", Failback(before=DB2, after=DB1)),
        ("rejected", REJECTED),
        ("split_brain", SPLIT),
        ("foreign_host", ForeignHost(host=DB1)),
        ("dial_failed", NO_SLOT),
        ("host_down", DOWN),
        ("pool_saturated", FULL),
        ("held_too_long", held("bill-1")),
    ],
)
def test_each_kind_has_the_severity_that_was_chosen_or_is_left_out(
    kind: Kind, event: Event
) -> None:
    chosen = Story(AlertRules(severities={**SEVERITIES, kind: "info"}))
    chosen.play({10: event}, 20)
    silent = Story(AlertRules(severities=dict.fromkeys(SEVERITIES, None)))
    silent.play({10: event, 30: (ended(20), StallEnded(host=DB1, seconds=1.0))}, 9000)
    silent.close(9000)

    assert chosen.told[0][1].severity == "info"
    assert silent.told == []


# -- closing ------------------------------------------------------------------------------------


def test_closing_during_an_outage_says_that_nothing_more_is_told() -> None:
    story = Story()
    story.play({0: UP, 10: DOWN, 10.2: NOBODY}, 30)

    story.close(30.2)

    assert story.titles() == [(15.2, OUTAGE), (30.2, "closed during the outage")]
    assert "No database host could be used for the last 20 s" in story.text()


def test_closing_during_an_outage_that_was_not_told_says_nothing() -> None:
    story = Story()
    story.play({0: UP, 10: DOWN, 10.2: NOBODY}, 12)

    story.close(12)

    assert story.told == []


def test_closing_tells_of_leaks_that_were_about_to_be_told() -> None:
    story = Story()
    story.play({10: held("bill-1")}, 11)

    story.close(11)

    assert story.titles() == [(11, "connection held for 5 min 12 s by bill-1")]


# -- how it reads -------------------------------------------------------------------------------


def test_an_outage_says_since_when_how_the_hosts_are_and_what_is_done() -> None:
    story = Story(plan=Plan(target="primary", max_tries=7, timeout=10, backoff_cap=2.5))
    story.play({0: UP, 10: DOWN, 10.2: NOBODY}, 20)

    *paragraphs, source = story.text().split("\n\n")

    assert paragraphs == [
        "No database host can be used since 08:00:10 UTC, for 5 s now. Wanted: a primary.",
        "db1:5432: down (Connection refused)\ndb2:5432: standby",
        (
            "pgmoor asks every host again, at most 2.5 s apart, and gives up after 7 tries."
            " Callers wait up to 10 s for a connection, then fail."
        ),
        "You are told when it is over, and every 30 min until then.",
    ]
    assert source.startswith("orders, process ")
    assert source.endswith("\n2027-01-15 08:00:15 UTC")


def test_a_reminder_says_how_the_hosts_are_by_now() -> None:
    story = Story()
    story.play({0: UP, 10: DOWN, 10.2: NOBODY, 900: REJECTED}, 1900)

    assert f"db1:5432: turns us away ({WRONG})" in story.text()
    assert "for 30 min 5 s now" in story.text()


def test_a_reminder_after_giving_up_says_that_nobody_searches() -> None:
    story = Story()
    story.play({10: NOBODY, 12: GaveUp(tries=5, seconds=2.0)}, 1900)

    assert [title for _, title in story.titles()][-1].startswith("still after 30 min 2 s: gave up")
    assert "after 5 tries in 2 s. It asks no host any more" in story.text()


def test_a_failover_says_why_and_how_the_hosts_are() -> None:
    story = Story()
    story.play({0: UP, 10: (DOWN, PROMOTED, MOVED)}, 11)

    said, hosts, _ = story.text().split("\n\n")

    assert said == (
        "db2:5432 serves since 08:00:10 UTC, 0.06 s after the first sign of trouble."
        " db1:5432 was left: it is down."
    )
    assert hosts == "db1:5432: down (Connection refused)\ndb2:5432: primary"


def test_an_exhausted_pool_says_its_figures_and_the_holders() -> None:
    story = Story()
    story.play({10: FULL}, 11)

    assert "10 of 10 connections are in use, and 7 callers wait for one." in story.text()
    assert "Held longest by task-1 for 9.0 s." in story.text()


def test_a_leak_names_the_place_and_not_the_source_text() -> None:
    story = Story()
    story.play({10: held("bill-1")}, 20)

    assert 'bill-1, for 5 min 12 s: File "/app/orders.py", line 42, in bill' in story.text()
    assert "4111" not in story.text()


@pytest.mark.parametrize("newest", [1, 2])
def test_a_split_brain_says_what_is_at_stake_and_what_to_do(newest: int) -> None:
    story = Story()
    story.play({10: SplitBrain(host=DB1, timeline=1, newest_timeline=newest)}, 11)

    rival = "so does the host in use" if newest == 1 else "timeline 2 is newer"
    assert f"db1:5432 claims to be primary on timeline 1, but {rival}." in story.text()
    assert "will be lost" in story.text()
    assert "To do: stop db1:5432" in story.text()
