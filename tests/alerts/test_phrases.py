"""The phrases of messages: durations, states, what is being done."""

from __future__ import annotations

import pytest

from pgmoor.alerts._followups import OCCURRENCES, digest
from pgmoor.alerts._kinds import SEVERITIES
from pgmoor.alerts._phrases import Plan, duration, state_of


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (-0.1, "0 s"),
        (0, "0 s"),
        (0.0623, "0.062 s"),
        (4.96, "5 s"),
        (9.9, "9.9 s"),
        (9.96, "10 s"),
        (59.4, "59 s"),
        (59.6, "1 min"),
        (134, "2 min 14 s"),
        (3599.6, "1 h"),
        (11100, "3 h 5 min"),
        (86400, "1 d"),
        (190800, "2 d 5 h"),
    ],
)
def test_a_duration_is_said_as_people_do(seconds: float, said: str) -> None:
    assert duration(seconds) == said


def test_a_state_is_one_line_whatever_the_reason() -> None:
    assert state_of("down", "") == "down"
    assert (
        state_of("silent", "no answer\n within 1 s\n") == "does not answer (no answer within 1 s)"
    )
    assert state_of("unheard of", "") == "unheard of"


@pytest.mark.parametrize(
    ("plan", "said"),
    [
        (Plan(), "goes on until one will do."),
        (Plan(max_tries=3), "gives up after 3 tries."),
        (Plan(max_time=90), "gives up after 1 min 30 s."),
        (Plan(max_tries=3, max_time=90), "gives up after 3 tries or after 1 min 30 s."),
    ],
)
def test_a_plan_says_how_long_is_searched(plan: Plan, said: str) -> None:
    assert plan.search.endswith(said)


def test_a_plan_says_what_callers_meet() -> None:
    assert "wait up to 2 s" in Plan(timeout=2).callers
    assert "at once" in Plan(when_down="fail").callers


@pytest.mark.parametrize(
    "kind", [kind for kind in SEVERITIES if kind not in {"recovered", "closed"}]
)
def test_every_kind_can_stand_in_a_digest(kind: str) -> None:
    text = digest(kind, ["line"], 600)  # type: ignore[arg-type]

    assert text.title == f"{OCCURRENCES[kind][1]} in the last 10 min"  # type: ignore[index]
