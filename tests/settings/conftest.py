"""No test of settings sees the machine's own environment."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def without_environment(bare_environment: None) -> None:
    """Hide the machine's own PG* variables and home directory."""
