"""Metrics and traces for OpenTelemetry. Needs the extra `otel`.

The metrics of the pool have the names and units of the conventions for database clients; what
only pgmoor knows is under `pgmoor.`. psycopg's own instrumentation adds a span for each query.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

try:
    from opentelemetry.trace import get_tracer
except ImportError as error:
    raise ImportError("pgmoor.otel needs opentelemetry-api: pgmoor[otel]") from error

from pgmoor._version import __version__

from ._meters import Meters
from ._spans import Spans

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import TracerProvider

    from pgmoor import ConnectionManager
    from pgmoor._metrics.registry import Source

__all__ = ["Instrumentation", "instrument"]


class Instrumentation:
    """What `instrument()` has begun for one manager."""

    def __init__(self, meters: Meters, source: Source, spans: Spans) -> None:
        self._meters = meters
        self._source = source
        self._spans = spans
        self._end_spans = source.manager.instrument(spans)

    def uninstrument(self) -> None:
        """Report on the manager no longer; not even on what has happened since the last time."""
        self._end_spans()
        self._spans.close()
        self._meters.remove(self._source)


def instrument(
    manager: ConnectionManager,
    *,
    meter_provider: MeterProvider | None = None,
    tracer_provider: TracerProvider | None = None,
) -> Instrumentation:
    """Report on *manager*, which need not be open yet, from now on.

    Without a provider, the global one is used, and may be set later. A manager that is closed is
    reported on for another five minutes, so that a last export has its last figures.

    Raises:
        ValueError: An open manager of that name is reported on already: a pool's name is to be
            unique.
    """
    meters = Meters.of(meter_provider)
    source = meters.add(manager)
    tracer = get_tracer("pgmoor", __version__, tracer_provider)
    return Instrumentation(meters, source, Spans(tracer, manager))
