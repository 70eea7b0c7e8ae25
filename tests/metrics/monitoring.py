"""The expressions of the monitoring examples, as Prometheus evaluates them."""

from __future__ import annotations

import json
import re
import textwrap
from pathlib import Path

FOLDER = Path(__file__).parents[2] / "examples" / "monitoring"
DASHBOARD = FOLDER / "grafana-dashboard.json"
RULES = FOLDER / "pgmoor-rules.yml"


def expressions_of_dashboard() -> list[str]:
    """Return the expressions of the panels and the annotations."""
    dashboard = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    targets = [target for panel in dashboard["panels"] for target in panel.get("targets", [])]
    return [target["expr"] for target in (*targets, *dashboard["annotations"]["list"])]


def expressions_of_rules() -> list[str]:
    """Return the expressions of the alerts: single lines and indented blocks."""
    text = RULES.read_text(encoding="utf-8")
    found = re.findall(r"^ +expr: (?:\|\n((?: {10}.*\n)+)|(.+)\n)", text, re.MULTILINE)
    return [textwrap.dedent(block).strip() or line for block, line in found]


def filled_in(expression: str, *, rate: str, span: str) -> str:
    """Return an expression of the dashboard with values for Grafana's variables."""
    values = {"__rate_interval": rate, "__range": span, "job": ".*", "instance": ".*"}
    for name, value in {**values, "manager": ".*"}.items():
        expression = expression.replace(f"${name}", value)
    return expression
