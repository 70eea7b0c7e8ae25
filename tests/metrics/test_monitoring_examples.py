"""The dashboard and the alert rules use metrics and labels that exist."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from metrics.monitoring import DASHBOARD, RULES, expressions_of_dashboard, expressions_of_rules
from metrics.telemetry import Scrape
from pgmoor import ConnectionManager
from pgmoor._core.hosts.failures import FailureKind
from pgmoor._metrics.catalogue import METRICS, Kind, Metric
from pgmoor._metrics.readings import event_names
from pgmoor.health import Role, State, Status

if TYPE_CHECKING:
    from collections.abc import Callable

VALUES = {
    "pgmoor_manager_state": {"state": {state.value for state in State}},
    "pgmoor_host_state": {"state": {status.value for status in Status}},
    "pgmoor_host_role": {"role": {role.value for role in Role}},
    "pgmoor_connections": {"state": {"idle", "used"}},
    "pgmoor_events_total": {"event": set(event_names())},
    "pgmoor_dial_failures_total": {"kind": {kind.value for kind in FailureKind}},
}
OF_TARGET = {"job", "instance", "manager"}


def series(metric: Metric) -> set[str]:
    """Return the names of a metric's samples."""
    if metric.kind is Kind.HISTOGRAM:
        return {f"{metric.prometheus}_{end}" for end in ("bucket", "count", "sum")}
    return {metric.prometheus}


BY_SERIES = {name: metric for metric in METRICS for name in series(metric)}


def test_all_expressions_are_found() -> None:
    assert len(expressions_of_dashboard()) > 30
    assert len(expressions_of_rules()) >= 15


def test_the_collector_has_samples_of_these_names() -> None:
    scrape = Scrape(ConnectionManager("host=db1", name="orders"))
    names = {name for name, _, _ in scrape.samples()}

    # These have no sample until they happen or are known.
    assert set(BY_SERIES) - names <= {
        "pgmoor_host_lag_seconds",
        "pgmoor_probe_failures_total",
        "pgmoor_dial_failures_total",
    }
    assert names <= set(BY_SERIES)


@pytest.mark.parametrize("expressions", [expressions_of_dashboard, expressions_of_rules])
def test_every_expression_uses_existing_metrics_labels_and_values(
    expressions: Callable[[], list[str]],
) -> None:
    for expression in expressions():
        names = re.findall(r"\b(pgmoor_\w+)", expression)
        assert names
        assert set(names) <= set(BY_SERIES), set(names) - set(BY_SERIES)
        for name, matchers in re.findall(r"(pgmoor_\w+)\{([^}]*)\}", expression):
            check_matchers(name, matchers)
        for grouping in re.findall(r"\b(?:by|on) \(([^)]*)\)", expression):
            known = {label for name in names for label, _ in BY_SERIES[name].labels}
            assert set(re.split(r",\s*", grouping)) <= known | OF_TARGET | {"le"}, grouping


def check_matchers(name: str, matchers: str) -> None:
    """Assert that the metric has each label, and the label each value."""
    labels = {label for label, _ in BY_SERIES[name].labels} | OF_TARGET
    for label, operator, value in re.findall(r'(\w+)(=~|=)"([^"]*)"', matchers):
        assert label in labels, (name, label)
        if label in VALUES.get(name, {}):
            wanted = value.split("|") if operator == "=~" else [value]
            assert set(wanted) <= VALUES[name][label], (name, label, value)


def test_the_dashboard_shows_every_metric() -> None:
    shown = set(re.findall(r"\b(pgmoor_\w+)", " ".join(expressions_of_dashboard())))

    assert [metric.prometheus for metric in METRICS if not shown & series(metric)] == []


def test_the_dashboards_panels_are_complete_and_do_not_overlap() -> None:
    dashboard: dict[str, Any] = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    panels = dashboard["panels"]
    variables = {item["name"] for item in dashboard["templating"]["list"]}

    assert len({panel["id"] for panel in panels}) == len(panels)
    cells = [
        (panel["gridPos"]["x"] + x, panel["gridPos"]["y"] + y)
        for panel in panels
        for x in range(panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["h"])
    ]
    assert len(set(cells)) == len(cells), "panels overlap"
    assert max(x for x, _ in cells) < 24
    for panel in panels:
        assert panel["title"]
        if panel["type"] != "row":
            assert panel["datasource"]["uid"] == "${datasource}"
            assert panel["targets"]
    used = set(re.findall(r"\$\{?(\w+)", json.dumps(panels)))
    assert used - variables <= {"__rate_interval", "__range"}


def test_every_alert_has_a_severity_a_summary_and_a_test() -> None:
    rules = RULES.read_text(encoding="utf-8")
    tests = Path(RULES).with_suffix(".test.yml").read_text(encoding="utf-8")
    alerts = re.split(r"- alert: ", rules)[1:]

    for alert in alerts:
        name = alert.split()[0]
        assert re.search(r"severity: (critical|warning|info)\n", alert), name
        assert "summary:" in alert, name
        assert "description:" in alert, name
        fired = re.search(rf"alertname: {name}\n\s+exp_alerts:", tests)
        assert fired, f"no test of the rules sees {name} fire"
