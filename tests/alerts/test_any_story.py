"""Whatever happens, in whatever order: the judge goes on, says little, and falls silent."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from pgmoor.alerts._kinds import SEVERITIES, AlertRules
from pgmoor.events import (
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

DIGEST = 600.0
LOUD = AlertRules(severities={**SEVERITIES, "host_down": "warning"})

hosts = st.sampled_from(HOSTS)
roles = st.sampled_from(["primary", "standby", "read-only primary"])
statuses = st.sampled_from(["down", "silent", "starting", "rejected"])
kinds = st.sampled_from(["credentials", "saturated", "other"])
seconds = st.floats(0, 1000)
happenings: st.SearchStrategy[Event] = st.one_of(
    st.builds(HostUp, host=hosts, role=roles),
    st.builds(HostDown, host=hosts, status=statuses, reason=st.text(max_size=20)),
    st.builds(RoleChanged, host=hosts, before=roles, after=roles),
    st.builds(OutageStarted, reason=st.just("")),
    st.builds(OutageEnded, host=hosts, seconds=seconds),
    st.builds(Stalled, host=hosts),
    st.builds(StallEnded, host=hosts, seconds=seconds),
    st.builds(GaveUp, tries=st.integers(1, 9), seconds=seconds),
    st.builds(Failover, before=hosts, after=hosts, reason=st.just("it is down"), seconds=seconds),
    st.builds(Failback, before=hosts, after=hosts),
    st.builds(SplitBrain, host=hosts, timeline=st.just(1), newest_timeline=st.integers(1, 2)),
    st.builds(ForeignHost, host=hosts),
    st.builds(HostsChanged, hosts=st.just(HOSTS[:1]), added=st.just(()), gone=st.just(HOSTS[1:])),
    st.builds(DialFailed, host=hosts, kind=kinds, reason=st.just("no slot")),
    st.builds(
        PoolSaturated,
        refused=st.integers(1, 9),
        used=st.just(4),
        waiting=st.integers(0, 9),
        max_size=st.just(4),
        holders=st.just(""),
    ),
    st.builds(HeldTooLong, task=st.text(max_size=20), seconds=seconds, stack=st.just("")),
)
pauses = st.sampled_from([0.0, 0.2, 1.0, 6.0, 70.0, 700.0])
stories = st.lists(st.tuples(pauses, happenings), max_size=60)

THE_END = (
    *(HostUp(host=host, role="standby") for host in HOSTS),
    OutageEnded(host=HOSTS[0], seconds=1.0),
    StallEnded(host=HOSTS[0], seconds=1.0),
)


def told(story: list[tuple[float, Event]]) -> tuple[Story, float]:
    listener, now = Story(LOUD), 0.0
    for pause, event in story:
        listener.wait(now + pause)
        now += pause
        listener.play({now: event}, now)
    return listener, now


@given(stories)
def test_when_all_is_well_again_the_judge_falls_silent(story: list[tuple[float, Event]]) -> None:
    listener, now = told(story)

    listener.play({now: THE_END}, now + 86400)

    assert listener.judge.due is None
    assert all(at <= now + 3 * DIGEST for at, _ in listener.told), listener.titles()


@given(stories)
def test_a_message_can_be_read(story: list[tuple[float, Event]]) -> None:
    listener, now = told(story)
    listener.close(now)

    for _, message in listener.told:
        assert message.title.startswith("orders: ")
        assert len(message.title) < 200
        assert message.title.isprintable()
        assert message.text.count("\n\n") >= 1


@given(st.lists(happenings, min_size=100, max_size=200))
def test_a_storm_is_not_passed_on(storm: list[Event]) -> None:
    listener, _ = told([(3.0, event) for event in storm])

    in_periods = Counter(at // DIGEST for at, _ in listener.told)

    # Each kind: a few by themselves, each with its end, one that announces digests, one digest.
    assert max(in_periods.values(), default=0) <= (len(SEVERITIES) - 2) * (2 * LOUD.burst + 2)
