"""`Instrument`, for metrics and traces: the manager calls its methods as things happen.

It calls them in the middle of checkouts and dials, so they must be quick. An instrument that raises
is not called again. `happened()` gets the events, too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from .events import Event

__all__ = ["Ended", "Instrument"]

Ended: TypeAlias = Callable[[BaseException | str | None], None]
"""Called once, at the end of what began: with None, or with an error or a kind of failure."""


class Instrument:
    """Records checkouts, dials, probes and changes. Override the methods that you need.

    All durations are in seconds. Every method runs in the event loop, mostly in the task it
    concerns; `timed_out()` runs in a timer.
    """

    def checked_out(self, waited: float) -> None:
        """Record that a caller got a connection, after *waited* seconds; 0 if it did not wait."""

    def returned(self, held: float) -> None:
        """Record that a connection was returned after *held* seconds."""

    def timed_out(self) -> None:
        """Record that a caller got no connection within its timeout."""

    def waiting(self) -> Ended | None:
        """Record that a caller begins to wait. The result is called with its exception or None."""

    def dialling(self, host: str) -> Ended | None:
        """Record that the pool dials *host*.

        The result is called with None, a kind of failure, or the exception that ended the dial.
        """

    def dialled(self, seconds: float) -> None:
        """Record that the pool made and tested a connection in *seconds*."""

    def probed(self, host: str, seconds: float, failure: str | None) -> None:
        """Record a probe of *host*. *failure* is the kind of failure, or None."""

    def aborted(self, host: str) -> None:
        """Record that the manager cut a connection to *host*."""

    def searched(self) -> None:
        """Record an attempt to reconnect: all hosts were probed while none was in use."""

    def repeated(self) -> None:
        """Record that `run()` or `retrying()` repeats a transaction."""

    def repeat_refused(self) -> None:
        """Record that a transaction is not repeated because the budget is used up."""

    def resolved(self, outcome: str) -> None:
        """Record the outcome of an unanswered COMMIT: committed, rolled_back or undecided."""

    def left(self, host: str, noticed: float) -> None:
        """Record that the manager leaves *host*, *noticed* seconds after the first trouble.

        Not called for a failback to a preferred host.
        """

    def entered(self, state: str) -> None:
        """Record that the manager enters a state: a value of `State`."""

    def happened(self, event: Event) -> None:
        """Record an event, at once. Callbacks of `subscribe()` get it later, in their own task."""
