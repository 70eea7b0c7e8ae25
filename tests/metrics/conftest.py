"""Fixtures for tests of metrics and traces."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from metrics.telemetry import Telemetry

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def telemetry() -> Iterator[Telemetry]:
    """Return an OpenTelemetry SDK for one test."""
    telemetry = Telemetry()
    yield telemetry
    telemetry.close()
