"""The phrases of messages: states of hosts, what pgmoor does."""

from __future__ import annotations

import pytest

from pgmoor.alerts._followups import OCCURRENCES
from pgmoor.alerts._kinds import SEVERITIES
from pgmoor.alerts._phrases import Plan, clause, host_state
from pgmoor.events import DialFailed, HostDown


def test_the_state_of_a_host_is_one_line() -> None:
    assert host_state("down", "") == "down"
    assert host_state("silent", "no answer\n within 1 s\n") == "silent (no answer within 1 s)"
    assert host_state("rejected", "") == "rejects our login"


def test_a_clause_is_capitalised_unless_it_begins_with_a_host() -> None:
    lost = HostDown(host="db1:5432", status="down", reason="Connection\nrefused.")
    full = DialFailed(host="db1:5432", kind="saturated", reason="no slot")

    assert clause(lost) == "db1:5432 is down: Connection refused"
    assert clause(full) == "Can't add a connection to db1:5432: no slot"


@pytest.mark.parametrize(
    ("plan", "end"),
    [
        (Plan(), "as soon as one qualifies."),
        (Plan(max_tries=3), "; it gives up after 3 tries."),
        (Plan(max_tries=3, max_time=90), "; it gives up after 3 tries or after 1 min 30 s."),
    ],
)
def test_a_plan_says_when_pgmoor_gives_up(plan: Plan, end: str) -> None:
    assert plan.search.endswith(end)


def test_a_plan_says_what_happens_to_callers() -> None:
    assert "wait up to 2 s" in Plan(timeout=2).callers
    assert "at once" in Plan(when_down="fail").callers


def test_every_kind_that_can_flap_has_words_for_a_digest() -> None:
    assert OCCURRENCES.keys() == SEVERITIES.keys() - {"recovered", "closed"}
