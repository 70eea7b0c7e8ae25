"""Spans of what a caller or an operator waits for: acquire, dial, failover, outage.

An acquire belongs to the caller's trace. The others are nobody's in particular: each begins a
trace of its own, and links tell what belongs together.
"""

from __future__ import annotations

import asyncio
import logging
from functools import wraps
from time import time_ns
from typing import TYPE_CHECKING, Any, TypeVar

from opentelemetry.context import Context
from opentelemetry.trace import Link, SpanKind, Status, StatusCode

from pgmoor._metrics.catalogue import POOL
from pgmoor._metrics.tally import WITHOUT_HOST
from pgmoor.events import Failover
from pgmoor.health import State
from pgmoor.instruments import Instrument
from pgmoor.logs import fields

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
ANYWHERE = Context()  # no parent


def harmless(method: F) -> F:
    """Report what *method* raises, in a user's span processor perhaps, and go on."""

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
    """Makes the spans of one manager."""

    def __init__(self, tracer: Tracer, manager: ConnectionManager) -> None:
        self._tracer = tracer
        self._attributes = {POOL: manager.name, "db.system.name": "postgresql"}
        self._trouble_since: int | None = None  # with the host that was given up
        self._left: dict[str, str | int] = {}  # that host
        self._starting_since: int | None = None
        self._outage: Span | None = None  # the one that goes on
        self._last_outage: tuple[Span, int] | None = None  # with its end
        health = manager.snapshot()
        self._enter(health.state, time_ns() - int(health.since * SECOND))

    # -- acquire ---------------------------------------------------------------------------------

    @harmless
    def waiting(self) -> Ended:
        """Begin the span of a caller that waits."""
        began = time_ns()
        span = self._tracer.start_span(
            "pgmoor.acquire", attributes=self._attributes, start_time=began
        )

        @harmless
        def ended(outcome: BaseException | str | None) -> None:
            outage = self._outage_since(began)
            if outage is not None:
                span.add_link(outage.get_span_context())
            finish(span, outcome)

        return ended

    def _outage_since(self, began: int) -> Span | None:
        """Return the newest outage that has gone on at any time since *began*."""
        if self._outage is not None:
            return self._outage
        if self._last_outage is not None and self._last_outage[1] >= began:
            return self._last_outage[0]
        return None

    # -- dial ------------------------------------------------------------------------------------

    @harmless
    def dialling(self, host: str) -> Ended:
        """Begin the span of a connection being made for the pool."""
        links = [] if self._outage is None else [Link(self._outage.get_span_context())]
        span = self._tracer.start_span(
            "pgmoor.dial",
            context=ANYWHERE,
            kind=SpanKind.CLIENT,
            attributes={**self._attributes, **of_host(host)},
            links=links,
        )

        @harmless
        def ended(outcome: BaseException | str | None) -> None:
            finish(span, outcome)

        return ended

    # -- outage and failover ---------------------------------------------------------------------

    @harmless
    def left(self, host: str, noticed: float) -> None:
        """Remember when the trouble began, and with which host."""
        self._trouble_since = time_ns() - int(noticed * SECOND)
        self._left = of_host(host)

    def entered(self, state: str) -> None:
        """Begin or end the span of a time without a host."""
        self._enter(state, time_ns())

    @harmless
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

    @harmless
    def happened(self, event: Event) -> None:
        """Note an event in the span of the outage; make the span of a failover."""
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
            context=ANYWHERE,
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
                context=ANYWHERE,
                attributes={**self._attributes, **self._left},
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

    @harmless
    def close(self) -> None:
        """End the span that is open, as it is not heard of any more how it ends."""
        self._fail_outage("not observed to its end")
        self._end_outage()


def finish(span: Span, outcome: BaseException | str | None) -> None:
    """End *span* with what has come of it: nothing wrong, a kind of failure, or an exception.

    Work that was cancelled has not failed.
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
