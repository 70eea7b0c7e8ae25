"""`import pgmoor` imports what a constructor needs; the rest comes with `open()`."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize("module", ["pgmoor.events", "pgmoor._core.failover.controller", "rich"])
def test_importing_pgmoor_leaves_for_later_what_only_an_open_manager_needs(module: str) -> None:
    code = f"import sys, pgmoor; sys.exit({module!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
