"""Names, units and kinds of the metrics follow the conventions of OpenTelemetry and Prometheus."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from opentelemetry.semconv._incubating.attributes import db_attributes
from opentelemetry.semconv._incubating.metrics import db_metrics

from pgmoor._metrics.catalogue import METRICS, POOL, STATE, Kind, Metric

PAGE = Path(__file__).parents[2] / "docs" / "metrics.md"
OF_POOL = [metric for metric in METRICS if metric.name.startswith("db.")]


class Meter:
    """Returns the arguments with which the conventions' own functions create an instrument."""

    def __getattr__(self, create: str) -> Any:
        return lambda **values: (create.removeprefix("create_"), values["name"], values["unit"])


def test_the_pools_metrics_are_those_of_the_conventions() -> None:
    for metric in OF_POOL:
        create = getattr(db_metrics, "create_" + metric.name.replace(".", "_"))

        kind, name, unit = create(Meter())

        assert (name, unit) == (metric.name, metric.unit)
        assert kind == metric.kind.value.replace("-", "_").replace(" ", "_")


def test_no_metric_of_the_conventions_is_missing() -> None:
    wanted = {
        value
        for value in vars(db_metrics).values()
        if isinstance(value, str) and value.startswith("db.client.connection.")
    }

    assert {metric.name for metric in OF_POOL} == wanted


def test_the_pools_attributes_are_those_of_the_conventions() -> None:
    assert db_attributes.DB_CLIENT_CONNECTION_POOL_NAME == POOL
    assert STATE[1] == db_attributes.DB_CLIENT_CONNECTION_STATE
    states = {state.value for state in db_attributes.DbClientConnectionStateValues}
    assert states == {"idle", "used"}


def test_the_name_of_a_metric_shows_its_kind_and_unit() -> None:
    for metric in METRICS:
        assert re.fullmatch(r"(db\.client\.connection|pgmoor)(\.[a-z]+(_[a-z]+)*)+", metric.name)
        assert re.fullmatch(r"pgmoor(_[a-z]+)+", metric.prometheus)
        assert metric.prometheus.endswith("_total") == (metric.kind is Kind.COUNTER)
        assert ("seconds" in metric.prometheus) == (metric.unit == "s")
        assert not metric.meaning.endswith(".")
    assert len({metric.name for metric in METRICS}) == len(METRICS)
    assert len({metric.prometheus for metric in METRICS}) == len(METRICS)


def row(metric: Metric) -> str:
    """Return the metric's row in the documentation."""
    attributes = ", ".join(f"`{name}`" for _, names in metric.labels for name in names.split(", "))
    labels = ", ".join(f"`{label}`" for label, _ in metric.labels)
    cells = (
        f"`{metric.name}`",
        f"`{metric.unit}`",
        metric.kind.value,
        attributes,
        f"`{metric.prometheus}`",
        labels,
        metric.meaning,
    )
    return "".join(f"| {cell} " if cell else "| " for cell in cells) + "|"


def test_the_documentation_has_the_row_of_each_metric() -> None:
    lines = PAGE.read_text(encoding="utf-8").splitlines()

    assert [row(metric) for metric in METRICS if row(metric) not in lines] == []
