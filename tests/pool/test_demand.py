"""How many connections are wanted: one question for minimum, growth and overflow."""

from __future__ import annotations

from typing import Any

import pytest

from pgmoor._core.pool.demand import missing
from pgmoor._core.settings.sizes import Sizes

AT_REST = {"size": 0, "dialling": 0, "ready": 0, "waiting": 0, "elsewhere": 0}
SIZES = Sizes(2, 4, 1)


@pytest.mark.parametrize(
    ("now", "wanted"),
    [
        ({}, 2),
        ({"dialling": 2}, 0),
        ({"size": 2, "ready": 2}, 0),
        ({"size": 2, "waiting": 1}, 1),
        ({"size": 2, "waiting": 1, "dialling": 1}, 0),  # one is on its way
        ({"size": 2, "waiting": 1, "ready": 1}, 0),  # it may have that one
        ({"size": 4, "waiting": 9}, 1),  # the overflow
        ({"size": 4, "waiting": 9, "dialling": 1}, 0),
        ({"size": 5, "waiting": 9}, 0),
        ({"waiting": 9, "elsewhere": 3}, 2),  # held on a host that was left
        ({"elsewhere": 5}, 0),
        ({"size": 7}, -2),  # more than there may be: the limits were lowered
        ({"size": 1, "dialling": 3}, -2),
    ],
)
def test_what_is_wanted_counts_what_is_made_being_made_and_held_elsewhere(
    now: dict[str, Any], wanted: int
) -> None:
    assert missing(SIZES, **{**AT_REST, **now}) == wanted
