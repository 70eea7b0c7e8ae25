"""What tests of metrics and traces share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from metrics.telemetry import Telemetry

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def telemetry() -> Iterator[Telemetry]:
    """An OpenTelemetry SDK of the test's own."""
    telemetry = Telemetry()
    yield telemetry
    telemetry.close()
