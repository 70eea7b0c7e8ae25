"""Durations are written with their two largest units."""

from __future__ import annotations

import pytest

from pgmoor._core.util.durations import duration


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-0.1, "0 s"),
        (0.04, "0.04 s"),
        (9.96, "10 s"),
        (59.4, "59 s"),
        (60, "1 min"),
        (75, "1 min 15 s"),
        (3700, "1 h 1 min"),
        (90000, "1 d 1 h"),
    ],
)
def test_a_duration_has_its_two_largest_units(seconds: float, words: str) -> None:
    assert duration(seconds) == words
