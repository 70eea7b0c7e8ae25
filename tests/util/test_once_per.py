"""`OncePer` allows each key once in a period."""

from __future__ import annotations

from pgmoor._core.util.once_per import OncePer


def test_a_key_is_allowed_once_in_a_period_which_begins_when_it_is_allowed() -> None:
    once: OncePer[str] = OncePer(60.0)

    allowed = [now for now in (0.0, 1.0, 59.9, 60.0, 61.0, 119.9, 200.0) if once.allows(now, "a")]

    assert allowed == [0.0, 60.0, 200.0]


def test_keys_do_not_limit_each_other_and_can_be_forgotten() -> None:
    once: OncePer[str] = OncePer(60.0)
    assert [once.allows(0.0, key) for key in "aba"] == [True, True, False]

    once.forget(lambda key: key == "a")

    assert [once.allows(1.0, key) for key in "ab"] == [True, False]
