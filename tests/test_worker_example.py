"""examples/worker.py, run as a person would."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

EXAMPLE = Path(__file__).parents[1] / "examples" / "worker.py"


def test_every_job_is_done_through_a_failover() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", str(EXAMPLE)],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert done.returncode == 0, done.stderr
    assert "the standby takes writes" in done.stdout
    assert "300 of 300 jobs done" in done.stdout
