"""The same again and again: a few times by itself, then in digests, until it is quiet."""

from __future__ import annotations

import pytest

from pgmoor.alerts._flapping import MOST_LINES, Fold, Verdict
from pgmoor.alerts._kinds import AlertRules
from pgmoor.events import (
    Event,
    Failback,
    Failover,
    HeldTooLong,
    HostDown,
    OutageEnded,
    OutageStarted,
    Stalled,
    StallEnded,
)
from stories import Story

DB1, DB2 = "db1:5432", "db2:5432"
DOWN = HostDown(host=DB1, status="down", reason="Connection refused")


def outages(*begins: float, seconds: float) -> dict[float, Event | tuple[Event, ...]]:
    """Return outages that begin at these instants."""
    story: dict[float, Event | tuple[Event, ...]] = {}
    for begin in begins:
        story[begin] = (DOWN, OutageStarted(reason=""))
        story[begin + seconds] = OutageEnded(host=DB1, seconds=seconds)
    return story


def moves(*instants: float) -> dict[float, Event | tuple[Event, ...]]:
    return {
        at: Failover(before=DB1, after=DB2, reason="it is down", seconds=0.1) for at in instants
    }


def test_a_few_outages_are_told_by_themselves() -> None:
    story = Story(hosts=(DB1,))

    story.play(outages(0, 60, 120, seconds=10), 5000)

    assert len(story.told) == 6
    assert not [title for _, title in story.titles() if "outages" in title]


def test_more_are_folded_until_it_is_quiet() -> None:
    story = Story(hosts=(DB1,))

    story.play(outages(0, 60, 120, 180, 240, 900, seconds=10), 5000)

    assert story.titles()[6:] == [
        (185, "4 outages in 3 min"),
        (785, "outages in the last 10 min"),
        (1385, "outages in the last 10 min"),
        (1985, "no outage for 10 min"),
    ]
    assert "From now on they are told together, every 10 min" in story.text(6)
    assert story.text(7).split("\n\n")[0].splitlines() == [
        "In the last 10 min:",
        "08:03:00 UTC, 10 s: outage, db1:5432 down (Connection refused)",
        "08:04:00 UTC, 10 s: outage, db1:5432 down (Connection refused)",
    ]
    assert story.text(8).count("outage, db1") == 1


def test_after_the_quiet_the_next_one_is_told_by_itself() -> None:
    story = Story(hosts=(DB1,))
    story.play(outages(0, 60, 120, 180, seconds=10), 3000)
    before = len(story.told)

    story.play(outages(4000, seconds=10), 5000)

    assert [at for at, _ in story.titles()[before:]] == [4005, 4010]


def test_many_short_outages_are_flapping_though_none_of_them_is_told() -> None:
    story = Story(hosts=(DB1,))

    story.play(outages(0, 10, 20, 30, 40, seconds=2), 700)

    assert story.titles() == [
        (32, "4 outages in 30 s"),
        (632, "outages in the last 10 min"),
    ]


def test_three_short_outages_are_not() -> None:
    story = Story(hosts=(DB1,))

    story.play(outages(0, 10, 20, seconds=2), 5000)

    assert story.told == []


def test_an_outage_that_lasts_while_it_flaps_is_told_by_itself() -> None:
    story = Story(hosts=(DB1,))

    story.play(outages(0, 60, 120, seconds=10) | outages(180, seconds=300), 600)

    assert story.titles()[6:] == [
        (185, "4 outages in 3 min"),
        (240, "database outage, db1:5432 down (Connection refused)"),
        (480, "database back after 5 min, db1:5432"),
    ]


def test_a_digest_names_what_is_not_over() -> None:
    rules = AlertRules(digest=30.0)
    story = Story(rules, hosts=(DB1,))

    story.play(outages(0, 8, 16, seconds=6) | outages(24, seconds=500), 60)

    assert (59, "outages in the last 30 s") in story.titles()
    assert "08:00:24 UTC: outage, db1:5432 down (Connection refused), still so" in story.text()


def test_while_one_lasts_it_is_not_quiet() -> None:
    story = Story(AlertRules(digest=100.0, remind=None), hosts=(DB1,))

    story.play(outages(0, 20, 40, seconds=10) | outages(60, seconds=1000), 2000)

    titles = [title for _, title in story.titles()]
    assert titles.index("database back after 16 min 40 s, db1:5432") < titles.index(
        "no outage for 1 min 40 s"
    )


def test_failovers_are_folded_too() -> None:
    story = Story()

    story.play(moves(0, 10, 20, 30, 40), 700)

    assert story.titles()[3:] == [
        (30, "4 failovers in 30 s"),
        (630, "failovers in the last 10 min"),
    ]
    assert "08:00:40 UTC: from db1:5432 to db2:5432, it is down" in story.text()


def test_failovers_and_failbacks_in_turn_are_counted_apart() -> None:
    back = {at: Failback(before=DB2, after=DB1) for at in (5.0, 15.0, 25.0, 35.0)}
    story = Story()

    story.play(moves(0, 10, 20, 30) | back, 40)

    assert [title for _, title in story.titles()[6:]] == [
        "4 failovers in 30 s",
        "4 failbacks in 30 s",
    ]


def test_an_outage_that_ends_in_a_failover_is_one_line() -> None:
    story = Story()
    end = (
        Failover(before=DB1, after=DB2, reason="it is down", seconds=8.0),
        OutageEnded(host=DB2, seconds=8.0),
    )

    story.play(
        outages(0, 60, 120, seconds=10) | {180: (DOWN, OutageStarted(reason="")), 188: end}, 900
    )

    assert "08:03:00 UTC, 8 s: outage, db1:5432 down, db2:5432 not asked yet, failed over to" in (
        story.text()
    )


def test_stalls_are_folded_too() -> None:
    story = Story()
    for begin in range(0, 50, 10):
        over = StallEnded(host=DB1, seconds=7.0)
        story.play({begin: Stalled(host=DB1), begin + 7: over}, begin + 8)

    assert [title for _, title in story.titles()[6:]] == ["4 stalls in 30 s"]


def test_leaks_are_folded_too() -> None:
    story = Story()
    leaks = {
        at: HeldTooLong(task=f"bill-{at:g}", seconds=300.0, stack="")
        for at in (0.0, 60.0, 120.0, 180.0, 240.0)
    }

    story.play(leaks, 2000)

    assert [title for _, title in story.titles()[3:]] == [
        "4 connections held too long in 3 min",
        "connections held too long in the last 10 min",
        "no connection held too long for 10 min",
    ]


def test_closing_sends_the_digest() -> None:
    story = Story(hosts=(DB1,))
    story.play(outages(0, 60, 120, 180, 240, seconds=10), 300)

    story.close(300)

    assert story.titles()[-1] == (300, "outages in the last 10 min")


# -- the fold itself ----------------------------------------------------------------------------


@pytest.mark.parametrize("burst", [1, 3])
def test_occurrences_are_told_up_to_the_burst(burst: int) -> None:
    fold = Fold(period=10, burst=burst)

    verdicts = [fold.occurs(instant) for instant in range(burst + 3)]

    assert verdicts == [Verdict.TELL] * burst + [Verdict.TELL_FLAPPING] + [Verdict.FOLD] * 2


def test_old_occurrences_are_forgotten() -> None:
    fold = Fold(period=10, burst=2)

    verdicts = [fold.occurs(instant) for instant in (0, 5, 10, 15, 20)]

    assert set(verdicts) == {Verdict.TELL}


def test_a_digest_is_bounded() -> None:
    fold = Fold(period=10, burst=1)
    for number in range(MOST_LINES + 7):
        fold.add(f"line {number}")

    lines = fold.take()

    assert len(lines) == MOST_LINES + 1
    assert lines[-1] == "and 7 more"
    assert fold.take() == []
