"""Alerts: messages by mail, chat or push when an outage begins, with the reason, and when it ends.

Needs `pip install "pgmoor[alerts]"`. pgmoor imports this package only if you ask for alerts.
"""

from ._kinds import Kind, Severity
from ._settings import Alerts

__all__ = ["Alerts", "Kind", "Severity"]
