"""`delays` and `spread`: how long to wait, with jitter."""

from __future__ import annotations

import subprocess
import sys
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import pgmoor
from pgmoor._core.util import backoff
from pgmoor._core.util.backoff import delays, spread


@given(st.floats(0.001, 10), st.floats(0.001, 60))
def test_a_delay_is_between_0_and_the_doubled_base_and_never_above_the_cap(
    base: float, cap: float
) -> None:
    waits = islice(delays(base, cap), 12)

    limits = [min(base * 2**step, cap) for step in range(12)]
    assert all(0 <= wait <= limit for wait, limit in zip(waits, limits, strict=True))


def test_without_jitter_delays_double_up_to_the_cap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backoff, "full_jitter", lambda value: value)

    waits = list(islice(delays(0.05, 1.0), 8))

    assert waits == pytest.approx([0.05, 0.1, 0.2, 0.4, 0.8, 1.0, 1.0, 1.0])
    assert next(islice(delays(0.05, 1.0), 5000, None)) == 1.0  # it never ends


def test_the_jitter_comes_after_the_cap() -> None:
    at_the_cap = list(islice(delays(0.05, 1.0), 5, 505))

    assert min(at_the_cap) < 0.1
    assert 0.9 < max(at_the_cap) <= 1.0
    assert sum(at_the_cap) / 500 == pytest.approx(0.5, abs=0.1)


@given(st.floats(0.001, 3600))
def test_a_period_is_shortened_by_up_to_a_fifth_at_random(period: float) -> None:
    spreads = {spread(period) for _ in range(20)}

    assert all(0.8 * period * 0.999 <= shortened <= period for shortened in spreads)
    assert len(spreads) > 10


def test_one_file_alone_imports_the_backoff_package() -> None:
    folder = Path(pgmoor.__file__).parent
    texts = {path.name: path.read_text() for path in folder.rglob("*.py")}

    using = [
        name for name, text in texts.items() if "import backoff" in text or "from backoff" in text
    ]

    assert using == ["backoff.py"]


def test_its_decorators_which_rest_on_what_python_removes_are_not_used() -> None:
    code = "import warnings; warnings.simplefilter('error'); import pgmoor._core.util.backoff"

    subprocess.run([sys.executable, "-c", code], check=True)
