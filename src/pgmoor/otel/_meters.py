"""pgmoor's metrics with one OpenTelemetry meter provider, for all managers that report to it.

Everything is read at collection, in the collecting thread. Nothing runs in between.
"""

from __future__ import annotations

from functools import partial
from threading import Lock
from time import monotonic
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from opentelemetry.metrics import Histogram, Observation, get_meter

from pgmoor._metrics.buckets import BOUNDS, Buckets
from pgmoor._metrics.catalogue import METRICS, READY, Kind
from pgmoor._metrics.registry import Registry
from pgmoor._version import __version__

from ._attributes import of_reading
from ._drain import Drain

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opentelemetry.metrics import CallbackOptions, CallbackT, MeterProvider

    from pgmoor import ConnectionManager
    from pgmoor._metrics.catalogue import Metric
    from pgmoor._metrics.registry import RegisteredManager

REPORT_AFTER_CLOSE = 300.0  # seconds, so that the last export includes the manager
DRAIN_SHARE = 0.5  # of a collection's timeout, for recording into histograms


class Meters:
    """The OpenTelemetry instruments of one provider, made once for all managers."""

    def __init__(self, provider: MeterProvider | None) -> None:
        self._managers = Registry()
        self._closed_at: dict[RegisteredManager, float] = {}
        self._drains: dict[tuple[RegisteredManager, Buckets], Drain] = {}
        self._draining = Lock()  # several threads may collect at once
        self._histograms: dict[str, Histogram] = {}
        self._meter = get_meter("pgmoor", __version__, provider)
        for metric in METRICS:
            self._create(metric)

    @classmethod
    def of(cls, provider: MeterProvider | None) -> Meters:
        """Return the meters of *provider*; None is the global one."""
        key = provider or _GLOBAL
        with _making:
            if key not in _all:
                _all[key] = cls(provider)
            return _all[key]

    def add(self, manager: ConnectionManager[Any]) -> RegisteredManager:
        """Start reporting on *manager*; raise `ValueError` if an open one has the same name."""
        return self._managers.add(manager)

    def remove(self, registered: RegisteredManager) -> None:
        """Stop reporting on a manager."""
        self._managers.remove(registered)

    def _create(self, metric: Metric) -> None:
        observe: list[CallbackT] = [partial(self._observe, metric)]
        if metric is READY:  # histograms have no callback, so this one fills them
            observe.insert(0, self._drain)
        name, unit, meaning = metric.name, metric.unit, metric.meaning
        match metric.kind:
            case Kind.HISTOGRAM:
                self._histograms[name] = self._meter.create_histogram(
                    name, unit, meaning, explicit_bucket_boundaries_advisory=BOUNDS
                )
            case Kind.COUNTER:
                self._meter.create_observable_counter(name, observe, unit, meaning)
            case Kind.GAUGE:
                self._meter.create_observable_gauge(name, observe, unit, meaning)
            case Kind.UP_DOWN:
                self._meter.create_observable_up_down_counter(name, observe, unit, meaning)

    def _observe(self, metric: Metric, _: CallbackOptions) -> Iterator[Observation]:
        for registered in self._managers:
            for reading in registered.read():
                if reading.metric is metric and not isinstance(reading.value, Buckets):
                    attributes = of_reading(registered.name, metric, reading.labels)
                    yield Observation(reading.value, attributes)

    def _drain(self, options: CallbackOptions) -> Iterator[Observation]:
        deadline = monotonic() + options.timeout_millis / 1000 * DRAIN_SHARE
        with self._draining:
            self._retire()
            for registered in self._managers:
                for reading in registered.read():
                    if isinstance(reading.value, Buckets):
                        key = registered, reading.value
                        if key not in self._drains:
                            attributes = of_reading(registered.name, reading.metric, reading.labels)
                            histogram = self._histograms[reading.metric.name]
                            self._drains[key] = Drain(histogram, attributes)
                        self._drains[key].run(reading.value, deadline)
        return iter(())

    def _retire(self) -> None:
        """Drop managers that were closed long ago, and the state of those that were removed."""
        now = monotonic()
        for registered in self._managers:
            if (
                registered.closed
                and now - self._closed_at.setdefault(registered, now) > REPORT_AFTER_CLOSE
            ):
                self._managers.remove(registered)
        kept = set(self._managers)
        self._closed_at = {one: at for one, at in self._closed_at.items() if one in kept}
        self._drains = {key: drain for key, drain in self._drains.items() if key[0] in kept}


class _Global:
    """The key of the global provider, which may be set later."""


_GLOBAL = _Global()
_all: WeakKeyDictionary[object, Meters] = WeakKeyDictionary()
_making = Lock()
