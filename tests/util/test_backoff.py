"""`delays` and `spread`: how long to wait, and how differently."""

from __future__ import annotations

import subprocess
import sys
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pgmoor
from pgmoor._core.util import backoff
from pgmoor._core.util.backoff import delays, spread

bases = st.floats(0.001, 10)
caps = st.floats(0.001, 60)


def ceilings(base: float, cap: float, count: int) -> list[float]:
    return [min(base * 2**step, cap) for step in range(count)]


@settings(deadline=None)
@given(bases, caps)
def test_a_delay_is_at_most_the_base_doubled_each_time_and_never_above_the_cap(
    base: float, cap: float
) -> None:
    waits = list(islice(delays(base, cap), 12))

    limits = ceilings(base, cap, 12)
    assert all(0 <= wait <= limit for wait, limit in zip(waits, limits, strict=True))


def test_without_jitter_it_doubles_up_to_the_cap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backoff, "full_jitter", lambda value: value)

    waits = list(islice(delays(0.05, 1.0), 8))

    assert waits == pytest.approx([0.05, 0.1, 0.2, 0.4, 0.8, 1.0, 1.0, 1.0])


def test_the_jitter_comes_after_the_cap() -> None:
    at_the_cap = list(islice(delays(0.05, 1.0), 5, 505))

    assert min(at_the_cap) < 0.1
    assert 0.9 < max(at_the_cap) <= 1.0
    assert sum(at_the_cap) / 500 == pytest.approx(0.5, abs=0.1)


def test_it_goes_on_for_ever() -> None:
    assert next(islice(delays(0.05, 1.0), 5000, None)) <= 1.0


def test_each_use_begins_anew() -> None:
    assert all(next(delays(0.05, 1.0)) <= 0.05 for _ in range(50))


@settings(deadline=None)
@given(st.floats(0.001, 3600))
def test_a_period_is_shortened_by_a_fifth_at_most(period: float) -> None:
    assert 0.8 * period * 0.999 <= spread(period) <= period


def test_periods_are_spread() -> None:
    assert len({spread(1.0) for _ in range(20)}) > 10


def test_one_file_alone_knows_the_backoff_package() -> None:
    folder = Path(pgmoor.__file__).parent
    texts = {path.name: path.read_text() for path in folder.rglob("*.py")}

    using = [
        name for name, text in texts.items() if "import backoff" in text or "from backoff" in text
    ]

    assert using == ["backoff.py"]


def test_the_decorators_that_python_is_removing_the_ground_from_are_not_used() -> None:
    code = "import warnings; warnings.simplefilter('error'); import pgmoor.backoff"

    subprocess.run([sys.executable, "-c", code], check=True)
