"""examples/alerts.py, as a person runs it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "alerts.py"


@pytest.mark.thorough
def test_the_example_prints_four_mails() -> None:
    done = subprocess.run(
        [sys.executable, str(EXAMPLE)], check=False, capture_output=True, text=True, timeout=60
    )

    assert done.returncode == 0, done.stderr
    subjects = [line for line in done.stdout.splitlines() if line.startswith("Subject: ")]
    beginnings = [
        "Subject: orders: database outage, ",
        "Subject: orders: database back after ",
        "Subject: orders: database outage, ",
        "Subject: orders: closed during the outage",
    ]
    assert len(subjects) == 4
    assert all(map(str.startswith, subjects, beginnings)), subjects
    assert "You will get a message when it is over" in done.stdout
