"""What an application would export: OpenTelemetry's points and spans, Prometheus' samples."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader, MetricsData
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from pgmoor.prometheus import Collector

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pgmoor import ConnectionManager

POOL = "db.client.connection.pool.name"


def points_of(data: MetricsData | None) -> dict[str, list[Any]]:
    """Return the data points of each metric."""
    found: dict[str, list[Any]] = {}
    for resource in data.resource_metrics if data else ():
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                assert metric.name not in found, "a metric has one stream"
                found[metric.name] = list(metric.data.data_points)
    return found


class Telemetry:
    """An application's OpenTelemetry SDK that exports to memory."""

    def __init__(self) -> None:
        self.reader = InMemoryMetricReader()
        self.meters = MeterProvider([self.reader], shutdown_on_exit=False)
        self._spans = InMemorySpanExporter()
        self.tracers = TracerProvider(shutdown_on_exit=False)
        self.tracers.add_span_processor(SimpleSpanProcessor(self._spans))
        self.tracer = self.tracers.get_tracer("application")

    def close(self) -> None:
        self.meters.shutdown()
        self.tracers.shutdown()

    def collect(self) -> dict[str, list[Any]]:
        return points_of(self.reader.get_metrics_data())

    def point(self, name: str, /, **attributes: Any) -> Any:
        """Return the only data point with attributes whose names end so, as in `state="idle"`."""
        points = [
            point
            for point in self.collect().get(name, [])
            if all(
                any(
                    key.rpartition(".")[2] == end and found == value for key, found in _items(point)
                )
                for end, value in attributes.items()
            )
        ]
        assert len(points) == 1, (name, attributes, points)
        return points[0]

    def value(self, name: str, /, **attributes: Any) -> float:
        return float(self.point(name, **attributes).value)

    def spans(self, name: str | None = None) -> Sequence[ReadableSpan]:
        """Return the spans that have ended, optionally only those of one name."""
        spans = self._spans.get_finished_spans()
        return [span for span in spans if name in (None, span.name)]


def _items(point: Any) -> list[tuple[str, Any]]:
    return list(point.attributes.items())


class Scrape:
    """A registry with a collector for *managers*, and the samples that it exposes."""

    def __init__(self, *managers: ConnectionManager) -> None:
        self.collector = Collector(*managers)
        self.registry = CollectorRegistry()
        self.registry.register(self.collector)

    def samples(self) -> list[tuple[str, dict[str, str], float]]:
        text = generate_latest(self.registry).decode()
        return [
            (sample.name, sample.labels, sample.value)
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        ]

    def value(self, name: str, /, **labels: str) -> float:
        """Return the only sample of that name with these labels."""
        values = [
            value
            for found, has, value in self.samples()
            if found == name and labels.items() <= has.items()
        ]
        assert len(values) == 1, (name, labels, values)
        return values[0]


def seconds_of(span: ReadableSpan) -> float:
    assert span.start_time is not None
    assert span.end_time is not None
    return (span.end_time - span.start_time) / 1e9
