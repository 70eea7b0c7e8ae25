"""Metrics and traces for OpenTelemetry. Needs the extra `otel`.

The pool's metrics follow the semantic conventions for database clients; all others are named
`pgmoor.…`. psycopg's own instrumentation adds a span for each query.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

try:
    from opentelemetry.trace import get_tracer
except ImportError as _error:
    raise ImportError('pgmoor.otel needs opentelemetry-api: pip install "pgmoor[otel]"') from _error

from pgmoor._version import __version__

from ._meters import Meters
from ._spans import Spans

if TYPE_CHECKING:
    from opentelemetry.metrics import MeterProvider
    from opentelemetry.trace import TracerProvider

    from pgmoor import ConnectionManager
    from pgmoor._metrics.registry import RegisteredManager

__all__ = ["Instrumentation", "instrument"]


class Instrumentation:
    """The metrics and spans of one manager, as `instrument()` returns them."""

    def __init__(self, meters: Meters, registered: RegisteredManager, spans: Spans) -> None:
        self._meters = meters
        self._registered = registered
        self._spans = spans
        self._end_spans = registered.manager.instrument(spans)

    def uninstrument(self) -> None:
        """Stop reporting on the manager at once; figures not yet collected are lost."""
        self._end_spans()
        self._spans.close()
        self._meters.remove(self._registered)


def instrument(
    manager: ConnectionManager[Any],
    *,
    meter_provider: MeterProvider | None = None,
    tracer_provider: TracerProvider | None = None,
) -> Instrumentation:
    """Start reporting on *manager*, which need not be open yet.

    The default providers are the global ones, which you may set later. Reports go on for five
    minutes after `close()`, so that the last export has the last figures.

    Raises:
        ValueError: An open manager of that name is already reported on. Names must be unique.
    """
    meters = Meters.of(meter_provider)
    registered = meters.add(manager)
    tracer = get_tracer("pgmoor", __version__, tracer_provider)
    return Instrumentation(meters, registered, Spans(tracer, manager))
