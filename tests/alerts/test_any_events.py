"""Any events in any order: the triage keeps going, sends few messages, and comes to rest."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from pgmoor.alerts._kinds import SEVERITIES, AlertRules
from pgmoor.events import (
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

DIGEST = 600.0
ALL_KINDS = AlertRules(severities={**SEVERITIES, "host_down": "warning"})

hosts = st.sampled_from(HOSTS)
roles = st.sampled_from(["primary", "standby", "read-only primary"])
statuses = st.sampled_from(["down", "silent", "starting", "rejected"])
kinds = st.sampled_from(["credentials", "saturated", "other"])
seconds = st.floats(0, 1000)
any_event: st.SearchStrategy[Event] = st.one_of(
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
    st.builds(
        FailbackPostponed,
        host=hosts,
        made=st.integers(0, 9),
        wanted=st.integers(1, 9),
        reason=st.just("no slot"),
        retry_after=st.none() | seconds,
    ),
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
histories = st.lists(st.tuples(pauses, any_event), max_size=60)

RECOVERY = (
    *(HostUp(host=host, role="standby") for host in HOSTS),
    OutageEnded(host=HOSTS[0], seconds=1.0),
    StallEnded(host=HOSTS[0], seconds=1.0),
)


def played(events: list[tuple[float, Event]]) -> tuple[Story, float]:
    story, now = Story(ALL_KINDS), 0.0
    for pause, event in events:
        story.wait(now + pause)
        now += pause
        story.play({now: event}, now)
    return story, now


@given(histories)
def test_no_messages_come_once_all_has_recovered(events: list[tuple[float, Event]]) -> None:
    story, now = played(events)

    story.play({now: RECOVERY}, now + 86400)

    assert story.triage.due is None
    assert all(at <= now + 3 * DIGEST for at, _ in story.sent), story.titles()


@given(histories)
def test_each_message_has_a_short_printable_title_and_a_text(
    events: list[tuple[float, Event]],
) -> None:
    story, now = played(events)
    story.close(now)

    for _, message in story.sent:
        assert message.title.startswith("orders: ")
        assert len(message.title) < 200
        assert message.title.isprintable()
        assert message.text.count("\n\n") >= 1


@given(st.lists(any_event, min_size=100, max_size=200))
def test_many_events_lead_to_few_messages(events: list[Event]) -> None:
    story, _ = played([(3.0, event) for event in events])

    per_period = Counter(at // DIGEST for at, _ in story.sent)

    # Of each kind: a few messages and their ends, one about flapping, one digest.
    assert max(per_period.values(), default=0) <= (len(SEVERITIES) - 2) * (2 * ALL_KINDS.burst + 2)
