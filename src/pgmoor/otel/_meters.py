"""pgmoor's metrics with one OpenTelemetry meter provider, for all managers that report there.

Everything is read when it is collected, in the thread that collects; nothing runs in between.
"""

from __future__ import annotations

from functools import partial
from threading import Lock
from time import monotonic
from typing import TYPE_CHECKING
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
    from pgmoor._metrics.registry import Source

AFTER_CLOSE = 300.0  # seconds that a closed manager is still reported on: for the last export
SHARE_OF_TIME = 0.5  # of what a collection may take: for records in histograms


class Meters:
    """The instruments of one provider; a provider has each of them once."""

    def __init__(self, provider: MeterProvider | None) -> None:
        self._sources = Registry()
        self._closed_at: dict[Source, float] = {}
        self._drains: dict[tuple[Source, Buckets], Drain] = {}
        self._draining = Lock()  # nothing says that only one thread collects at a time
        self._histograms: dict[str, Histogram] = {}
        self._meter = get_meter("pgmoor", __version__, provider)
        for metric in METRICS:
            self._create(metric)

    @classmethod
    def of(cls, provider: MeterProvider | None) -> Meters:
        """Return the one of *provider*; None stands for the global one."""
        key = provider or _GLOBAL
        with _making:
            if key not in _all:
                _all[key] = cls(provider)
            return _all[key]

    def add(self, manager: ConnectionManager) -> Source:
        """Report on *manager*; raise `ValueError` if one of its name is reported on already."""
        return self._sources.add(manager)

    def remove(self, source: Source) -> None:
        """Report on a manager no longer."""
        self._sources.remove(source)

    def _create(self, metric: Metric) -> None:
        observe: list[CallbackT] = [partial(self._observe, metric)]
        if metric is READY:  # one of the instruments has to see to the histograms
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

    # -- what is called at each collection -------------------------------------------------------

    def _observe(self, metric: Metric, _: CallbackOptions) -> Iterator[Observation]:
        for source in self._sources:
            for reading in source.read():
                if reading.metric is metric and not isinstance(reading.value, Buckets):
                    attributes = of_reading(source.name, metric, reading.labels)
                    yield Observation(reading.value, attributes)

    def _drain(self, options: CallbackOptions) -> Iterator[Observation]:
        deadline = monotonic() + options.timeout_millis / 1000 * SHARE_OF_TIME
        with self._draining:
            self._retire()
            for source in self._sources:
                for reading in source.read():
                    if isinstance(reading.value, Buckets):
                        key = source, reading.value
                        if key not in self._drains:
                            attributes = of_reading(source.name, reading.metric, reading.labels)
                            histogram = self._histograms[reading.metric.name]
                            self._drains[key] = Drain(histogram, attributes)
                        self._drains[key].run(reading.value, deadline)
        return iter(())

    def _retire(self) -> None:
        """Drop managers that were closed long ago, and what belongs to those that are gone."""
        now = monotonic()
        for source in self._sources:
            if source.closed and now - self._closed_at.setdefault(source, now) > AFTER_CLOSE:
                self._sources.remove(source)
        kept = set(self._sources)
        self._closed_at = {one: at for one, at in self._closed_at.items() if one in kept}
        self._drains = {key: drain for key, drain in self._drains.items() if key[0] in kept}


class _Global:
    """Stands for the global provider, whichever it will be."""


_GLOBAL = _Global()
_all: WeakKeyDictionary[object, Meters] = WeakKeyDictionary()
_making = Lock()
