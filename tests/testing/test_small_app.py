"""The tests of examples/small_app pass when run as its page says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.thorough
def test_the_tests_of_the_example_pass() -> None:
    command = [sys.executable, "-m", "pytest", "-p", "pytest_pgmoor", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, "-s", "examples/small_app"],
        cwd=ROOT,
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "5 passed" in done.stdout
    assert "works again after" in done.stdout
