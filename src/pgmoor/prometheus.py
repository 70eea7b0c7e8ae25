"""Metrics for Prometheus: a collector over the figures of one or more managers.

Needs the extra `prometheus`. It has no task and no thread of its own: the figures are put together
when they are collected, in the thread that collects them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

try:
    from prometheus_client.metrics_core import (
        CounterMetricFamily,
        GaugeMetricFamily,
        HistogramMetricFamily,
    )
    from prometheus_client.registry import Collector as _Collector
except ImportError as error:
    raise ImportError("pgmoor.prometheus needs prometheus-client: pgmoor[prometheus]") from error

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
    """Reports on *managers*, each under the label `manager` with its name.

    A registry takes one collector: managers that come later are added to it. A manager that is
    closed is no longer reported on.

    Raises:
        ValueError: Two open managers have the same name.
    """

    def __init__(self, *managers: ConnectionManager) -> None:
        self._sources = Registry()
        for manager in managers:
            self.add(manager)

    def add(self, manager: ConnectionManager) -> None:
        """Report on *manager*, too; it need not be open yet.

        Raises:
            ValueError: An open manager of that name is reported on already.
        """
        self._sources.add(manager)

    def remove(self, manager: ConnectionManager) -> None:
        """Report on *manager* no longer."""
        for source in self._sources:
            if source.manager is manager:
                self._sources.remove(source)

    def describe(self) -> Iterable[Family]:
        """Return all metrics without values: a registry refuses names that it has already."""
        return [_family(metric) for metric in METRICS]

    def collect(self) -> Iterable[Family]:
        """Return all metrics with their values as they are now."""
        families = {metric.name: _family(metric) for metric in METRICS}
        for source in self._sources:
            if source.closed:
                self._sources.remove(source)
                continue
            for reading in source.read():
                names = [name for name, _ in reading.metric.labels]
                labels = [source.name, *(reading.labels[name] for name in names)]
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
