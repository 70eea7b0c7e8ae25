"""Metrics for Prometheus: a collector for one or more managers. Needs the extra `prometheus`.

It needs no task or thread: it reads the figures at each scrape, in the scraper's thread.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

try:
    from prometheus_client.metrics_core import (
        CounterMetricFamily,
        GaugeMetricFamily,
        HistogramMetricFamily,
    )
    from prometheus_client.registry import Collector as _Collector
except ImportError as _error:
    raise ImportError(
        'pgmoor.prometheus needs prometheus-client: pip install "pgmoor[prometheus]"'
    ) from _error

from ._metrics.buckets import Buckets
from ._metrics.catalogue import METRICS, Kind, Metric
from ._metrics.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prometheus_client.metrics_core import Metric as Family

    from . import ConnectionManager

__all__ = ["Collector"]

INFINITE = "+Inf"


class Collector(_Collector):
    """Reports on *managers*; the label `manager` has each one's name.

    A registry takes one collector; `add()` more managers to it. It drops closed managers.

    Raises:
        ValueError: Two open managers have the same name.
    """

    def __init__(self, *managers: ConnectionManager[Any]) -> None:
        self._managers = Registry()
        for manager in managers:
            self.add(manager)

    def add(self, manager: ConnectionManager[Any]) -> None:
        """Start reporting on *manager*, which need not be open yet.

        Raises:
            ValueError: It already reports on an open manager of that name.
        """
        self._managers.add(manager)

    def remove(self, manager: ConnectionManager[Any]) -> None:
        """Stop reporting on *manager*."""
        for registered in self._managers:
            if registered.manager is manager:
                self._managers.remove(registered)

    def describe(self) -> Iterable[Family]:
        """Return all metrics without values, so that a registry can refuse duplicate names."""
        return [_family(metric) for metric in METRICS]

    def collect(self) -> Iterable[Family]:
        """Return all metrics with their values as of now."""
        families = {metric.name: _family(metric) for metric in METRICS}
        for registered in self._managers:
            if registered.closed:
                self._managers.remove(registered)
                continue
            for reading in registered.read():
                names = [name for name, _ in reading.metric.labels]
                labels = [registered.name, *(reading.labels[name] for name in names)]
                _add(families[reading.metric.name], labels, reading.value)
        return families.values()


def _family(metric: Metric) -> Family:
    labels = ["manager", *(name for name, _ in metric.labels)]
    match metric.kind:
        case Kind.COUNTER:
            return CounterMetricFamily(metric.prometheus, metric.meaning, labels=labels)
        case Kind.HISTOGRAM:
            return HistogramMetricFamily(metric.prometheus, metric.meaning, labels=labels)
        case _:
            return GaugeMetricFamily(metric.prometheus, metric.meaning, labels=labels)


def _add(family: Family, labels: list[str], value: float | Buckets) -> None:
    if isinstance(value, Buckets):
        assert isinstance(family, HistogramMetricFamily)
        counted = value.read()
        limits = [(str(limit), upto) for limit, upto in counted.cumulative()]
        family.add_metric(labels, [*limits, (INFINITE, counted.count)], counted.total)
    else:
        assert isinstance(family, CounterMetricFamily | GaugeMetricFamily)
        family.add_metric(labels, value)
