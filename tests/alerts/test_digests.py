"""What happens again and again: separate messages first, then digests until it stops."""

from __future__ import annotations

import pytest

from pgmoor.alerts._flapping import MAX_LINES, FlappingDetector, Verdict
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


def stalls(*begins: float, seconds: float) -> dict[float, Event | tuple[Event, ...]]:
    """Return stalls that begin at these instants."""
    story: dict[float, Event | tuple[Event, ...]] = {}
    for begin in begins:
        story[begin] = Stalled(host=DB1)
        story[begin + seconds] = StallEnded(host=DB1, seconds=seconds)
    return story


def failovers(*instants: float) -> dict[float, Event | tuple[Event, ...]]:
    return {
        at: Failover(before=DB1, after=DB2, reason="it is down", seconds=0.1) for at in instants
    }


def test_the_fourth_outage_starts_digests_which_end_after_a_period_without_one() -> None:
    story = Story(hosts=(DB1,))

    story.play(outages(0, 60, 120, 180, 240, 900, seconds=10), 5000)

    assert not [title for _, title in story.titles()[:6] if "outages" in title]
    assert story.titles()[6:] == [
        (185, "4 outages in 3 min"),
        (785, "outages in the last 10 min"),
        (1385, "outages in the last 10 min"),
        (1985, "no outage for 10 min"),
    ]
    assert "From now on you get one summary every 10 min" in story.text(6)
    assert story.text(7).split("\n\n")[0].splitlines() == [
        "In the last 10 min:",
        "08:03:00 UTC, 10 s: outage, db1:5432 down (Connection refused)",
        "08:04:00 UTC, 10 s: outage, db1:5432 down (Connection refused)",
    ]
    assert story.text(8).count("outage, db1") == 1


def test_after_the_digests_the_next_outage_is_announced_on_its_own() -> None:
    story = Story(hosts=(DB1,))
    story.play(outages(0, 60, 120, 180, seconds=10), 3000)
    before = len(story.sent)

    story.play(outages(4000, seconds=10), 5000)

    assert [at for at, _ in story.titles()[before:]] == [4005, 4010]


@pytest.mark.parametrize(
    ("history", "kind"),
    [
        (outages(0, 10, 20, 30, 40, seconds=2), "outages"),
        (stalls(0, 10, 20, 30, 40, seconds=2), "stalls"),
    ],
    ids=["outages", "stalls"],
)
def test_outages_and_stalls_too_short_to_be_announced_count_too(
    history: dict[float, Event | tuple[Event, ...]], kind: str
) -> None:
    story = Story(hosts=(DB1,))

    story.play(history, 700)

    assert story.titles() == [(32, f"4 {kind} in 30 s"), (632, f"{kind} in the last 10 min")]


def test_an_outage_that_lasts_is_announced_on_its_own_between_digests() -> None:
    story = Story(hosts=(DB1,))

    story.play(outages(0, 60, 120, seconds=10) | outages(180, seconds=300), 600)

    assert story.titles()[6:] == [
        (185, "4 outages in 3 min"),
        (240, "database outage, db1:5432 down (Connection refused)"),
        (480, "database back after 5 min, db1:5432"),
    ]


def test_a_digest_names_the_outage_that_is_not_over() -> None:
    rules = AlertRules(digest=30.0)
    story = Story(rules, hosts=(DB1,))

    story.play(outages(0, 8, 16, seconds=6) | outages(24, seconds=500), 60)

    assert (59, "outages in the last 30 s") in story.titles()
    assert "08:00:24 UTC: outage, db1:5432 down (Connection refused), ongoing" in story.text()


def test_digests_do_not_end_while_an_outage_lasts() -> None:
    story = Story(AlertRules(digest=100.0, remind=None), hosts=(DB1,))

    story.play(outages(0, 20, 40, seconds=10) | outages(60, seconds=1000), 2000)

    titles = [title for _, title in story.titles()]
    assert titles.index("database back after 16 min 40 s, db1:5432") < titles.index(
        "no outage for 1 min 40 s"
    )


def test_failovers_are_collected_in_digests() -> None:
    story = Story()

    story.play(failovers(0, 10, 20, 30, 40), 700)

    assert story.titles()[3:] == [
        (30, "4 failovers in 30 s"),
        (630, "failovers in the last 10 min"),
    ]
    assert (
        "08:00:40 UTC: failed over from db1:5432 to db2:5432 in 0.100 s: it is down" in story.text()
    )


def test_failovers_and_failbacks_are_counted_separately() -> None:
    back = {at: Failback(before=DB2, after=DB1) for at in (5.0, 15.0, 25.0, 35.0)}
    story = Story()

    story.play(failovers(0, 10, 20, 30) | back, 40)

    assert [title for _, title in story.titles()[6:]] == [
        "4 failovers in 30 s",
        "4 failbacks in 30 s",
    ]


def test_an_outage_that_ends_with_a_failover_is_one_line_of_a_digest() -> None:
    story = Story()
    end = (
        Failover(before=DB1, after=DB2, reason="it is down", seconds=8.0),
        OutageEnded(host=DB2, seconds=8.0),
    )

    story.play(
        outages(0, 60, 120, seconds=10) | {180: (DOWN, OutageStarted(reason="")), 188: end}, 900
    )

    assert "08:03:00 UTC, 8 s: outage, db1:5432 down, db2:5432 not probed yet, failed over to" in (
        story.text()
    )


def test_connections_held_too_long_are_collected_in_digests() -> None:
    story = Story()
    held = {
        at: HeldTooLong(task=f"bill-{at:g}", seconds=300.0, stack="")
        for at in (0.0, 60.0, 120.0, 180.0, 240.0)
    }

    story.play(held, 2000)

    assert [title for _, title in story.titles()[3:]] == [
        "4 connections held too long in 3 min",
        "connections held too long in the last 10 min",
        "no connection held too long for 10 min",
    ]
    assert "08:04:05 UTC: bill-240" in story.text(-2)


def test_closing_sends_the_digest() -> None:
    story = Story(hosts=(DB1,))
    story.play(outages(0, 60, 120, 180, 240, seconds=10), 300)

    story.close(300)

    assert story.titles()[-1] == (300, "outages in the last 10 min")


# -- the detector -------------------------------------------------------------------------------


@pytest.mark.parametrize("burst", [1, 3])
def test_occurrences_beyond_the_burst_are_collected(burst: int) -> None:
    detector = FlappingDetector(period=10, burst=burst)

    verdicts = [detector.record(instant) for instant in range(burst + 3)]

    assert verdicts == [Verdict.SEND] * burst + [Verdict.START_DIGESTS] + [Verdict.COLLECT] * 2


def test_occurrences_older_than_a_period_do_not_count() -> None:
    detector = FlappingDetector(period=10, burst=2)

    verdicts = [detector.record(instant) for instant in (0, 5, 10, 15, 20)]

    assert set(verdicts) == {Verdict.SEND}


def test_a_digest_has_a_limited_number_of_lines() -> None:
    detector = FlappingDetector(period=10, burst=1)
    for number in range(MAX_LINES + 7):
        detector.collect(f"line {number}")

    lines = detector.take_lines()

    assert len(lines) == MAX_LINES + 1
    assert lines[-1] == "and 7 more"
    assert detector.take_lines() == []
