"""The page's history is bounded, and the chart shows its samples."""

from __future__ import annotations

import re
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from pgmoor._statuspage.chart import chart, highest, summary
from pgmoor._statuspage.history import MAX_EVENTS, MAX_SAMPLES, SPAN, History, Sample, stretches
from pgmoor.events import HostDown
from pgmoor.health import PoolFigures
from statuspage.pages import health


def sample(at: float, used: int = 1, waiting: int = 0, *, ready: bool = True) -> Sample:
    return Sample(at, used, 4, waiting, 8, ready)


def test_a_day_of_samples_and_events_takes_as_much_memory_as_five_minutes() -> None:
    history = History()

    for second in range(86_400):
        history.add(health(), float(second))
        if second % 60 == 0:
            history.events.append(HostDown(host=str(second), status="down", reason=""))

    assert len(history.samples(86_400.0)) == MAX_SAMPLES - 1
    assert len(history.events) == MAX_EVENTS
    assert history.events[-1].to_dict()["host"] == "86340"


def test_the_chart_shows_no_samples_older_than_its_span() -> None:
    history = History()
    history.add(health(), 0.0)

    assert len(history.samples(SPAN - 1.0)) == 1
    assert history.samples(SPAN + 0.1) == []


def test_the_limit_of_a_sample_includes_the_overflow() -> None:
    history = History()
    figures = PoolFigures(size=5, used=4, idle=1, waiting=2, min_size=1, max_size=4, max_overflow=3)
    history.add(replace(health(), pool=figures, ready=False), 7.0)

    assert history.samples(7.0) == [Sample(7.0, 4, 5, 2, 7, ready=False)]


def test_a_time_without_samples_breaks_the_line() -> None:
    samples = [sample(1), sample(2), sample(30), sample(31)]

    assert [len(group) for group in stretches(samples)] == [2, 2]


def test_a_value_that_repeats_adds_nothing_to_the_chart() -> None:
    few, many = ([sample(float(at)) for at in range(count)] for count in (10, 300))

    assert len(chart(many, 300.0)) < len(chart(few, 300.0)) + 20


def test_an_outage_is_an_area_from_its_first_sample_to_the_next_ready_one() -> None:
    samples = [sample(float(at), ready=not 100 <= at < 120) for at in range(SPAN)]

    found = re.findall(r'<rect class="outage" x="(\d+)" y="0" width="(\d+)"', chart(samples, SPAN))

    assert found == [("100", "20")]


def test_the_summary_describes_the_chart_in_words() -> None:
    samples = [sample(1, used=7, waiting=9, ready=False), sample(2, used=3)]

    assert summary(samples) == (
        "Pool use over the last 5 minutes: 3 of 8 in use now, 7 at most;"
        " 9 callers waiting at most; not ready for 1 s"
    )
    assert highest(samples) == 9


@given(
    st.lists(
        st.builds(
            Sample,
            at=st.floats(-400, 0),
            used=st.integers(0, 10_000),
            size=st.integers(0, 10_000),
            waiting=st.integers(0, 10**9),
            limit=st.integers(0, 10_000),
            ready=st.booleans(),
        )
    )
)
def test_the_chart_stays_in_its_frame_for_any_samples(samples: list[Sample]) -> None:
    drawn = chart(sorted(samples), 0.0)

    assert "nan" not in drawn
    assert "inf" not in drawn
    for command, number in re.findall(r"([HV])(-?[\d.e+-]+)", drawn):
        assert 0 <= float(number) <= (SPAN if command == "H" else 100)
