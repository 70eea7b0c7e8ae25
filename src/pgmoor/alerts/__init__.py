"""Alerts: who reads mail, chat or pushes hears of outages, of the reason, and of the end.

Needs `pip install "pgmoor[alerts]"`. The library imports this only when alerts are asked for.
"""

from ._kinds import Kind, Severity
from ._settings import Alerts

__all__ = ["Alerts", "Kind", "Severity"]
