"""Which messages are sent for which events, and when: events at instants, titles of messages."""

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
    FailbackPostponed,
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
NO_HOST = OutageStarted(reason="")
MOVED = Failover(before=DB1, after=DB2, reason="it is down", seconds=0.06)
PROMOTED = RoleChanged(host=DB2, before="standby", after="primary")
REJECTED = HostDown(host=DB1, status="rejected", reason=WRONG)
SPLIT = SplitBrain(host=DB1, timeline=1, newest_timeline=2)
FULL = PoolSaturated(refused=3, used=10, waiting=7, max_size=10, holders="task-1 for 9.0 s")
NO_SLOT = DialFailed(host=DB1, kind="saturated", reason="too many clients already")

POSTPONED = FailbackPostponed(
    host=DB1, made=12, wanted=15, reason="too many clients already", retry_after=30.0
)

OUTAGE = "database outage, db1:5432 down, db2:5432 standby"
UNPROBED = "database outage, db1:5432 not probed yet, db2:5432 not probed yet"
SPLIT_TITLE = "split brain on db1:5432"

HOST_DOWN_TOO = AlertRules(severities={**SEVERITIES, "host_down": "warning"})


def ended(seconds: float, host: str = DB1) -> OutageEnded:
    return OutageEnded(host=host, seconds=seconds)


def held(task: str) -> HeldTooLong:
    stack = '  File "/app/orders.py", line 42, in bill\n    await charge(card="4111")\n'
    return HeldTooLong(task=task, seconds=312.0, stack=stack)


@dataclass
class Case:
    """Events, and the messages that are sent for them."""

    name: str
    events: Mapping[float, Event | tuple[Event, ...]]
    sent: list[tuple[float, str]]
    end: float = 100.0
    hosts: tuple[str, ...] = HOSTS
    rules: AlertRules = field(default_factory=AlertRules)


ONE = (DB1,)

CASES = [
    Case("nothing is sent while all is well", {0: UP, 1: Connected(host=DB1, seconds=0.1)}, []),
    # -- an outage -------------------------------------------------------------------------------
    Case(
        "an outage is announced once it has lasted, and again when it is over",
        {0: UP, 10: DOWN, 10.2: NO_HOST, 40: HostUp(host=DB1, role="primary"), 40.1: ended(30)},
        [(15.2, OUTAGE), (40.1, "database back after 30 s, db1:5432")],
    ),
    Case("a short outage is not announced", {0: UP, 10: DOWN, 10.2: NO_HOST, 15.1: ended(4.9)}, []),
    Case(
        "with one host, the title gives the reason",
        {10: DOWN, 10.2: NO_HOST},
        [(15.2, "database outage, db1:5432 down (Connection refused)")],
        hosts=ONE,
    ),
    Case(
        "with many hosts, the title gives their number",
        {10: NO_HOST},
        [(15, "database outage, none of 4 hosts qualifies")],
        hosts=("a:1", "b:1", "c:1", "d:1"),
    ),
    Case(
        "with after=0, an outage is announced at once",
        {10: NO_HOST, 11: ended(1)},
        [(10, UNPROBED), (11, "database back after 1 s, db1:5432")],
        rules=AlertRules(after=0.0),
    ),
    Case(
        "a reminder comes each half hour",
        {0: UP, 10: DOWN, 10.2: NO_HOST, 4000: ended(3990)},
        [
            (15.2, OUTAGE),
            (1815.2, f"still after 30 min 5 s: {OUTAGE}"),
            (3615.2, f"still after 1 h: {OUTAGE}"),
            (4000, "database back after 1 h 6 min, db1:5432"),
        ],
        end=9000,
    ),
    Case(
        "with remind=None, no reminder comes",
        {0: UP, 10: DOWN, 10.2: NO_HOST},
        [(15.2, OUTAGE)],
        end=9000,
        rules=AlertRules(remind=None),
    ),
    Case(
        "giving up is announced at once, in place of the outage",
        {0: UP, 10: DOWN, 10.2: NO_HOST, 12: GaveUp(tries=5, seconds=2.0), 60: ended(50)},
        [
            (12, "gave up, db1:5432 down, db2:5432 standby"),
            (60, "database back after 50 s, db1:5432"),
        ],
    ),
    Case(
        "a new search continues the same outage",
        {
            10: (NO_HOST, GaveUp(tries=1, seconds=0.1)),
            30: NO_HOST,
            32: GaveUp(tries=1, seconds=0.1),
            60: ended(50),
        },
        [
            (10, "gave up, db1:5432 not probed yet, db2:5432 not probed yet"),
            (32, "gave up, db1:5432 not probed yet, db2:5432 not probed yet"),
            (60, "database back after 50 s, db1:5432"),
        ],
    ),
    # -- a stall ---------------------------------------------------------------------------------
    Case(
        "a stall is announced once it has lasted",
        {10: Stalled(host=DB1), 20: StallEnded(host=DB1, seconds=11)},
        [(15, "db1:5432 does not answer"), (20, "db1:5432 answers again, after 10 s")],
    ),
    Case(
        "a short stall is not announced",
        {10: Stalled(host=DB1), 12: StallEnded(host=DB1, seconds=2)},
        [],
    ),
    Case(
        "a stall that becomes an outage counts from its beginning",
        {10: Stalled(host=DB1), 13: NO_HOST, 20: ended(7)},
        [(15, UNPROBED), (20, "database back after 10 s, db1:5432")],
    ),
    # -- from host to host -----------------------------------------------------------------------
    Case(
        "a failover is one message",
        {0: UP, 10: (DOWN, PROMOTED, MOVED), 70: HostUp(host=DB1, role="standby", down_for=60.0)},
        [(10, "failed over to db2:5432")],
    ),
    Case(
        "a failover after a short outage is one message",
        {0: UP, 10: DOWN, 10.2: NO_HOST, 10.9: (PROMOTED, MOVED, ended(0.9, DB2))},
        [(10.9, "failed over to db2:5432")],
    ),
    Case(
        "a failover that ends an announced outage is announced with its end",
        {0: UP, 10: DOWN, 10.2: NO_HOST, 30: (PROMOTED, MOVED, ended(20, DB2))},
        [(15.2, OUTAGE), (30, "database back after 20 s, failed over to db2:5432")],
    ),
    Case(
        "a failover is announced if outages are turned off",
        {0: UP, 10: DOWN, 10.2: NO_HOST, 30: (PROMOTED, MOVED, ended(20, DB2))},
        [(30, "failed over to db2:5432")],
        rules=AlertRules(severities={**SEVERITIES, "outage": None}),
    ),
    Case(
        "a failover ends a stall",
        {0: UP, 10: Stalled(host=DB1), 12: (PROMOTED, MOVED)},
        [(12, "failed over to db2:5432")],
    ),
    Case(
        "a failback is announced",
        {0: UP, 10: Failback(before=DB2, after=DB1)},
        [(10, "failing back to db1:5432")],
    ),
    # -- one host --------------------------------------------------------------------------------
    Case(
        "a rejected login is announced once it has lasted, and again when it is over",
        {0: UP, 10: REJECTED, 60: HostUp(host=DB1, role="primary")},
        [(15, "db1:5432 rejects our login"), (60, "db1:5432 accepts our login again, after 50 s")],
    ),
    Case(
        "a rejected login that soon succeeds is not announced",
        {10: REJECTED, 12: HostUp(host=DB1, role="primary")},
        [],
    ),
    Case(
        "a rejected login that causes an outage is announced with it",
        {10: REJECTED, 10.2: NO_HOST, 60: HostUp(host=DB1, role="primary"), 60.1: ended(50)},
        [
            (15.2, f"database outage, db1:5432 rejects our login ({WRONG})"),
            (60.1, "database back after 50 s, db1:5432"),
        ],
        hosts=ONE,
    ),
    Case(
        "a rejected login is announced if outages are turned off",
        {10: REJECTED, 10.2: NO_HOST},
        [(15, "db1:5432 rejects our login")],
        rules=AlertRules(severities={**SEVERITIES, "outage": None}),
    ),
    Case(
        "a rejected login that causes a failover is announced with it",
        {0: UP, 10: (REJECTED, PROMOTED, MOVED), 60: HostUp(host=DB1, role="standby")},
        [
            (10, "failed over to db2:5432"),
            (60, "db1:5432 accepts our login again, after 50 s"),
        ],
    ),
    Case(
        "a rejected login that outlasts a short outage is announced",
        {10: REJECTED, 10.2: NO_HOST, 13: ended(3, DB2)},
        [(15, "db1:5432 rejects our login")],
    ),
    Case(
        "a server that rejects only new connections is announced, and when it stops doing so",
        {10: DialFailed(host=DB1, kind="credentials", reason=WRONG)},
        [(15, "db1:5432 rejects our login"), (160, "db1:5432 no longer rejects our login")],
        end=900,
    ),
    Case(
        "by default, a host that fails while not in use is not announced",
        {0: UP, 10: HostDown(host=DB2, status="down", reason=REFUSED)},
        [],
    ),
    Case(
        "with a severity for host_down, it is",
        {
            0: UP,
            10: HostDown(host=DB2, status="silent", reason="no answer within 1 s"),
            12: HostDown(host=DB2, status="down", reason=REFUSED),
            60: HostUp(host=DB2, role="standby"),
        },
        [(15, "db2:5432 can't be used"), (60, "db2:5432 can be used again, after 50 s")],
        rules=HOST_DOWN_TOO,
    ),
    Case(
        "a host that fails and causes a failover is announced with it",
        {0: UP, 10: (DOWN, PROMOTED, MOVED), 70: HostUp(host=DB1, role="standby")},
        [(10, "failed over to db2:5432"), (70, "db1:5432 can be used again, after 1 min")],
        rules=HOST_DOWN_TOO,
    ),
    Case(
        "a split brain is announced at once, each half hour, and when it is over",
        {0: UP, 10: SPLIT, 2000: RoleChanged(host=DB1, before="primary", after="standby")},
        [
            (10, SPLIT_TITLE),
            (1810, f"still after 30 min: {SPLIT_TITLE}"),
            (2000, "db1:5432 no longer claims to be primary, after 33 min 10 s"),
        ],
        end=9000,
    ),
    Case(
        "a stale primary that restarts as a primary is a split brain again",
        {0: UP, 10: SPLIT, 20: DOWN, 30: HostUp(host=DB1, role="primary")},
        [
            (10, SPLIT_TITLE),
            (20, "db1:5432 no longer claims to be primary, after 10 s"),
            (30, SPLIT_TITLE),
        ],
    ),
    Case(
        "a stale primary that restarts as a standby is not",
        {
            0: UP,
            10: SPLIT,
            20: DOWN,
            30: HostUp(host=DB1, role="standby"),
            40: DOWN,
            50: HostUp(host=DB1, role="primary"),
        },
        [(10, SPLIT_TITLE), (20, "db1:5432 no longer claims to be primary, after 10 s")],
    ),
    Case(
        "a host of another cluster is announced once",
        {10: ForeignHost(host=DB2)},
        [(10, "db2:5432 belongs to another cluster")],
        end=9000,
    ),
    Case(
        "nothing more is announced about a host that has left the list",
        {
            0: UP,
            10: (SPLIT, HostDown(host=DB2, status="rejected", reason=WRONG)),
            12: HostsChanged(hosts=("db3:5432",), added=("db3:5432",), gone=HOSTS),
            20: (HostUp(host=DB1, role="primary"), NO_HOST),
        },
        [
            (10, SPLIT_TITLE),
            (25, "database outage, db3:5432 not probed yet, db1:5432 primary"),
        ],
        end=9000,
        rules=AlertRules(remind=None),
    ),
    # -- the pool --------------------------------------------------------------------------------
    Case(
        "an exhausted pool is announced at once, and when all callers get connections again",
        {10: FULL, 70: FULL, 130: FULL},
        [
            (10, "pool exhausted, callers get no connection"),
            (280, "pool no longer exhausted"),
        ],
        end=900,
    ),
    Case(
        "failed dials are announced once they have lasted, and when they succeed again",
        {10: NO_SLOT, 70: NO_SLOT},
        [
            (15, "no new connections to db1:5432"),
            (220, "db1:5432 accepts new connections again"),
        ],
        end=900,
    ),
    Case(
        "failed dials during an outage are not announced",
        {10: (NO_SLOT, NO_HOST), 12: NO_SLOT},
        [(15, UNPROBED)],
        end=60,
    ),
    Case(
        "connections held too long are announced together",
        {10: (held("bill-1"), held("bill-2")), 12: held("bill-3"), 100: held("bill-4")},
        [(15, "3 connections held too long"), (105, "connection held too long")],
        end=200,
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_messages_for(case: Case) -> None:
    story = Story(case.rules, hosts=case.hosts)

    story.play(case.events, case.end)

    assert story.titles() == case.sent


def test_every_kind_has_a_default_severity() -> None:
    assert set(SEVERITIES) == set(get_args(Kind))


@pytest.mark.parametrize(
    ("kind", "event"),
    [
        ("outage", NO_HOST),
        ("gave_up", GaveUp(tries=1, seconds=1.0)),
        ("stall", Stalled(host=DB1)),
        ("failover", MOVED),
        ("failback", Failback(before=DB2, after=DB1)),
        ("failback_postponed", POSTPONED),
        ("rejected", REJECTED),
        ("split_brain", SPLIT),
        ("foreign_host", ForeignHost(host=DB1)),
        ("dial_failed", NO_SLOT),
        ("host_down", DOWN),
        ("pool_saturated", FULL),
        ("held_too_long", held("bill-1")),
    ],
)
def test_each_kind_can_have_another_severity_or_be_turned_off(kind: Kind, event: Event) -> None:
    changed = Story(AlertRules(severities={**SEVERITIES, kind: "info"}))
    changed.play({10: event}, 20)
    silent = Story(AlertRules(severities=dict.fromkeys(SEVERITIES, None)))
    silent.play({10: event, 30: (ended(20), StallEnded(host=DB1, seconds=1.0))}, 9000)
    silent.close(9000)

    assert changed.sent[0][1].severity == "info"
    assert silent.sent == []


# -- closing ------------------------------------------------------------------------------------


def test_closing_during_an_announced_outage_is_announced() -> None:
    story = Story()
    story.play({0: UP, 10: DOWN, 10.2: NO_HOST}, 30)

    story.close(30.2)

    assert story.titles() == [(15.2, OUTAGE), (30.2, "closed during the outage")]
    assert "closed at 08:00:30 UTC, 20 s after the outage began." in story.text()


def test_closing_during_an_unannounced_outage_is_not_announced() -> None:
    story = Story()
    story.play({0: UP, 10: DOWN, 10.2: NO_HOST}, 12)

    story.close(12)

    assert story.sent == []


def test_closing_announces_held_connections_early() -> None:
    story = Story()
    story.play({10: held("bill-1")}, 11)

    story.close(11)

    assert story.titles() == [(11, "connection held too long")]


# -- the texts ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "event",
    [
        GaveUp(tries=1, seconds=1.0),
        Stalled(host=DB1),
        MOVED,
        Failback(before=DB2, after=DB1),
        POSTPONED,
        SPLIT,
        SplitBrain(host=DB1, timeline=1, newest_timeline=1),
        ForeignHost(host=DB1),
        NO_SLOT,
        DOWN,
        FULL,
    ],
    ids=str,
)
def test_a_message_about_an_event_begins_with_the_sentence_of_the_event(event: Event) -> None:
    story = Story(HOST_DOWN_TOO)

    story.play({10: event}, 20)

    assert story.text(0).lower().startswith(f"{event}.".lower())


def test_an_outage_says_since_when_how_the_hosts_are_and_what_pgmoor_does() -> None:
    story = Story(plan=Plan(target="primary", max_tries=7, timeout=10, backoff_cap=2.5))
    story.play({0: UP, 10: DOWN, 10.2: NO_HOST}, 20)

    *paragraphs, signature = story.text().split("\n\n")

    assert paragraphs == [
        (
            "No database host can be used. The outage began at 08:00:10 UTC, 5 s ago."
            " Needed: a primary."
        ),
        "db1:5432: down (Connection refused)\ndb2:5432: standby",
        (
            "pgmoor probes all hosts, with pauses of up to 2.5 s, and reconnects by itself as soon"
            " as one qualifies; it gives up after 7 tries."
            " Callers wait up to 10 s for a connection, then fail."
        ),
        "You will get a message when it is over, and a reminder every 30 min until then.",
    ]
    assert signature.startswith("orders, process ")
    assert signature.endswith("\n2027-01-15 08:00:15 UTC")


def test_a_reminder_gives_the_hosts_states_at_that_time() -> None:
    story = Story()
    story.play({0: UP, 10: DOWN, 10.2: NO_HOST, 900: REJECTED}, 1900)

    assert f"db1:5432: rejects our login ({WRONG})" in story.text()
    assert "30 min 5 s ago" in story.text()


def test_a_reminder_after_giving_up_says_that_pgmoor_has_stopped() -> None:
    story = Story()
    story.play({10: NO_HOST, 12: GaveUp(tries=5, seconds=2.0)}, 1900)

    assert [title for _, title in story.titles()][-1].startswith("still after 30 min 2 s: gave up")
    assert "Gave up after 5 tries in 2.0 s" in story.text()
    assert "pgmoor stopped at 08:00:12 UTC: it probes no host" in story.text()


def test_a_failover_gives_the_hosts_states() -> None:
    story = Story()
    story.play({0: UP, 10: (DOWN, PROMOTED, MOVED)}, 11)

    assert story.text().split("\n\n")[:2] == [
        (
            "Failed over from db1:5432 to db2:5432 in 0.060 s: it is down."
            " All callers have used db2:5432 since 08:00:10 UTC."
        ),
        "db1:5432: down (Connection refused)\ndb2:5432: primary",
    ]


def test_an_exhausted_pool_names_the_holders() -> None:
    story = Story()
    story.play({10: FULL}, 11)

    assert "Held longest by task-1 for 9.0 s." in story.text()


def test_a_connection_held_too_long_is_located_without_its_source_text() -> None:
    story = Story()
    story.play({10: held("bill-1")}, 20)

    said = 'held for 312.0 s by bill-1: File "/app/orders.py", line 42, in bill'
    assert said in story.text()
    assert "4111" not in story.text()


def test_a_message_lists_at_most_ten_held_connections() -> None:
    story = Story()
    story.play({10: tuple(held(f"bill-{number}") for number in range(12))}, 20)

    assert story.titles() == [(15, "12 connections held too long")]
    assert "\nand 2 more\n" in story.text()


def test_a_split_brain_says_what_is_at_stake_and_what_to_do() -> None:
    story = Story()
    story.play({10: SPLIT}, 11)

    assert "will be lost" in story.text()
    assert "To do: stop db1:5432" in story.text()
