"""The one way from the core up to `pgmoor.alerts`, for the manager's argument `alerts`."""

from __future__ import annotations

from pgmoor.alerts import Alerts
from pgmoor.alerts._service import AlertService
from pgmoor.alerts._settings import make_alerts, watch

__all__ = ["AlertService", "Alerts", "make_alerts", "watch"]
