"""Spans for acquire, dial, failover and outage.

An acquire belongs to the caller's trace. The others belong to no caller: each begins its own trace,
and links connect them.
"""

from __future__ import annotations

import asyncio
import logging
from functools import wraps
from time import time_ns
from typing import TYPE_CHECKING, Any, TypeVar

from opentelemetry.context import Context
from opentelemetry.trace import Link, SpanKind, Status, StatusCode

from pgmoor._core.reporting.log_fields import fields
from pgmoor._metrics.catalogue import POOL
from pgmoor._metrics.tally import WITHOUT_HOST
from pgmoor.events import Failover
from pgmoor.health import State
from pgmoor.instruments import Instrument

from ._attributes import of_host

if TYPE_CHECKING:
    from collections.abc import Callable

    from opentelemetry.trace import Span, Tracer

    from pgmoor import ConnectionManager
    from pgmoor.events import Event
    from pgmoor.instruments import Ended

logger = logging.getLogger("pgmoor.otel")

F = TypeVar("F", bound="Callable[..., Any]")

SECOND = 1_000_000_000  # nanoseconds
NO_PARENT = Context()


def log_errors(method: F) -> F:
    """Log whatever *method* raises, such as an error of a user's span processor, and go on."""

    @wraps(method)
    def wrapper(*args: Any) -> Any:
        try:
            return method(*args)
        except Exception:
            extra = fields("SpanFailed", task=method.__name__)
            logger.exception("a span could not be made", extra=extra)
            return None

    return wrapper  # type: ignore[return-value]  # it takes and returns what `method` does


class Spans(Instrument):
    """Creates the spans of one manager."""

    def __init__(self, tracer: Tracer, manager: ConnectionManager[Any]) -> None:
        self._tracer = tracer
        self._attributes = {POOL: manager.name, "db.system.name": "postgresql"}
        self._trouble_since: int | None = None  # with the host that was given up last
        self._given_up: dict[str, str | int] = {}  # the attributes of that host
        self._starting_since: int | None = None
        self._outage: Span | None = None  # the present one
        self._last_outage: tuple[Span, int] | None = None  # with its end
        health = manager.snapshot()
        self._enter(health.state, time_ns() - int(health.since * SECOND))

    @log_errors
    def waiting(self) -> Ended:
        """Begin the span of a caller's wait."""
        began = time_ns()
        span = self._tracer.start_span(
            "pgmoor.acquire", attributes=self._attributes, start_time=began
        )

        @log_errors
        def ended(outcome: BaseException | str | None) -> None:
            outage = self._outage_since(began)
            if outage is not None:
                span.add_link(outage.get_span_context())
            finish(span, outcome)

        return ended

    def _outage_since(self, began: int) -> Span | None:
        """Return the newest outage that overlaps the time since *began*."""
        if self._outage is not None:
            return self._outage
        if self._last_outage is not None and self._last_outage[1] >= began:
            return self._last_outage[0]
        return None

    @log_errors
    def dialling(self, host: str) -> Ended:
        """Begin the span of a dial for the pool."""
        links = [] if self._outage is None else [Link(self._outage.get_span_context())]
        span = self._tracer.start_span(
            "pgmoor.dial",
            context=NO_PARENT,
            kind=SpanKind.CLIENT,
            attributes={**self._attributes, **of_host(host)},
            links=links,
        )

        @log_errors
        def ended(outcome: BaseException | str | None) -> None:
            finish(span, outcome)

        return ended

    @log_errors
    def left(self, host: str, noticed: float) -> None:
        """Remember the host that is given up, and when its trouble began."""
        self._trouble_since = time_ns() - int(noticed * SECOND)
        self._given_up = of_host(host)

    def entered(self, state: str) -> None:
        """Begin or end the span of an outage."""
        self._enter(state, time_ns())

    @log_errors
    def _enter(self, state: str, since: int) -> None:
        if state == State.STARTING.value:
            self._starting_since = since
        elif state in WITHOUT_HOST:
            self._begin_outage(self._starting_since or since)
            if state == State.GAVE_UP.value:
                self._fail_outage("gave up")
        elif state == State.CLOSED.value:
            self._fail_outage("the manager was closed")
            self._end_outage()
        else:
            self._end_outage()

    @log_errors
    def happened(self, event: Event) -> None:
        """Add the event to the span of the outage; create the span of a failover."""
        if self._outage is not None:
            values = {
                f"pgmoor.event.{name}": value
                for name, value in event.to_dict().items()
                if name not in ("event", "manager", "at") and value is not None
            }
            self._outage.add_event(type(event).__name__, values, int(event.at * SECOND))
        if isinstance(event, Failover):
            self._failover(event)

    def _failover(self, event: Failover) -> None:
        ended = int(event.at * SECOND)
        began = self._trouble_since or ended - int(event.seconds * SECOND)
        self._trouble_since = None
        outage = self._outage_since(began)
        self._tracer.start_span(
            "pgmoor.failover",
            context=NO_PARENT,
            attributes={
                **self._attributes,
                "pgmoor.failover.from": event.before,
                "pgmoor.failover.to": event.after,
                "pgmoor.failover.reason": event.reason,
            },
            links=[] if outage is None else [Link(outage.get_span_context())],
            start_time=began,
        ).end(ended)

    def _begin_outage(self, since: int) -> None:
        self._starting_since = None
        if self._outage is None:
            self._outage = self._tracer.start_span(
                "pgmoor.outage",
                context=NO_PARENT,
                attributes={**self._attributes, **self._given_up},
                start_time=since,
            )

    def _fail_outage(self, why: str) -> None:
        if self._outage is not None:
            self._outage.set_status(Status(StatusCode.ERROR, why))

    def _end_outage(self) -> None:
        self._starting_since = None
        self._trouble_since = None
        if (outage := self._outage) is not None:
            now = time_ns()
            outage.end(now)
            self._outage, self._last_outage = None, (outage, now)

    @log_errors
    def close(self) -> None:
        """End the span of the present outage, whose end will not be observed."""
        self._fail_outage("not observed to its end")
        self._end_outage()


def finish(span: Span, outcome: BaseException | str | None) -> None:
    """End *span* with its outcome: None, a kind of failure, or an exception.

    Cancelled work is marked as cancelled and not as an error.
    """
    if isinstance(outcome, asyncio.CancelledError):
        span.set_attribute("pgmoor.cancelled", value=True)
    elif isinstance(outcome, BaseException):
        span.set_attribute("error.type", type(outcome).__qualname__)
        span.record_exception(outcome)
        span.set_status(Status(StatusCode.ERROR, str(outcome)))
    elif outcome is not None:
        span.set_attribute("error.type", outcome)
        span.set_status(Status(StatusCode.ERROR, outcome))
    span.end()
