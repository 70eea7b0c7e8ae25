"""When a preferred host's pool may take over while it is filled, and when to try again."""

from __future__ import annotations

from math import ceil

import pytest

from pgmoor._core.hosts.filling import (
    FIRST_WAIT,
    LONGEST,
    LONGEST_WAIT,
    STUCK_AFTER,
    Filling,
    Postponements,
    Verdict,
)

GO_ON, TAKE_OVER, POSTPONE = Verdict.GO_ON, Verdict.TAKE_OVER, Verdict.POSTPONE
ALWAYS_AWAKE = float("-inf")


@pytest.mark.parametrize(
    ("made", "after", "needed", "expected"),
    [
        pytest.param(20, 0.0, 20, TAKE_OVER, id="full"),
        pytest.param(19, 0.0, 1, GO_ON, id="not full yet, although enough"),
        pytest.param(0, STUCK_AFTER - 0.1, 20, GO_ON, id="nothing yet"),
        pytest.param(12, STUCK_AFTER, 12, TAKE_OVER, id="no more come, and there are enough"),
        pytest.param(12, STUCK_AFTER, 13, POSTPONE, id="no more come, and one is missing"),
        pytest.param(0, STUCK_AFTER, 1, POSTPONE, id="none comes"),
    ],
)
def test_a_pool_of_twenty(made: int, after: float, needed: int, expected: Verdict) -> None:
    filling = Filling(10.0)
    filling.judge(made, 20, needed, 10.0, ALWAYS_AWAKE)

    assert filling.judge(made, 20, needed, 10.0 + after, ALWAYS_AWAKE) is expected


def test_while_connections_keep_coming_it_may_take_long_but_not_for_ever() -> None:
    filling = Filling(0.0)
    step = STUCK_AFTER - 1
    steps = ceil(LONGEST / step)
    verdicts = [filling.judge(n, 1000, 999, n * step, ALWAYS_AWAKE) for n in range(1, steps)]

    assert set(verdicts) == {GO_ON}
    assert filling.judge(steps, 1000, 999, LONGEST, ALWAYS_AWAKE) is POSTPONE


def test_time_in_which_the_program_stood_still_does_not_count() -> None:
    filling = Filling(0.0)

    assert filling.judge(0, 2, 1, 60.0, 60.0) is GO_ON
    assert filling.judge(0, 2, 1, 60.0 + STUCK_AFTER, 60.0) is POSTPONE


@pytest.mark.parametrize("failback_after", [0.0, 30.0, 3600.0])
def test_the_wait_doubles_up_to_a_limit_until_it_is_cleared(failback_after: float) -> None:
    postponements = Postponements(failback_after)
    waits = [postponements.postpone(0, 100.0) for _ in range(20)]

    first = max(failback_after, FIRST_WAIT)
    assert waits[0] == first
    assert waits[1] == min(2 * first, max(first, LONGEST_WAIT))
    assert waits[-1] == max(first, LONGEST_WAIT)
    assert postponements.until == {0: 100.0 + waits[-1]}
    assert postponements.postpone(1, 100.0) == first  # each host for itself

    postponements.clear()

    assert not postponements.until
    assert postponements.postpone(0, 100.0) == first
