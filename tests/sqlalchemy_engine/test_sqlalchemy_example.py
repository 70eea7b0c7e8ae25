"""examples/sqlalchemy_orm.py runs as its docstring says."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "sqlalchemy_orm.py"


@pytest.mark.thorough
def test_the_sqlalchemy_example_loses_no_order() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", str(EXAMPLE)],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert done.returncode == 0, done.stderr
    assert "the standby was promoted" in done.stdout
    assert done.stdout.endswith("400 orders of 8 customers acknowledged, 0 lost\n"), done.stdout
