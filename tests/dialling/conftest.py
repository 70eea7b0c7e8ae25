"""What tests of rejected logins share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def retry_interval(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Set how many seconds lie between two attempts after a rejection; 5 otherwise."""

    def change(seconds: float) -> None:
        for name in (
            "dialling.login_throttle.RETRY_INTERVAL",
            "dialling.dialler.RETRY_INTERVAL",
            "hosts.probe_pace.REJECTED_INTERVAL",
        ):
            monkeypatch.setattr(f"pgmoor._core.{name}", seconds)

    return change


@pytest.fixture
def rare_retries(retry_interval: Callable[[float], None]) -> None:
    """Make the interval longer than any test."""
    retry_interval(60.0)
