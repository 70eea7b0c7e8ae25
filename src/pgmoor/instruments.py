"""What metrics and traces hear of while things happen; events tell of what has happened.

The manager calls an `Instrument` in the middle of checkouts and dials, so it must be quick. One
that raises is not called again. Without one nothing is called.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from .events import Event

    # Called once, when what began has ended: with None, or with what it ended in.
    Ended = Callable[[BaseException | str | None], None]


class Instrument:
    """Hears of checkouts, dials, probes and changes; a subclass overrides what it wants to hear.

    All durations are in seconds. Every method runs in the event loop, in the task it is about.
    """

    def checked_out(self, waited: float) -> None:
        """Hear that a caller got a connection, after *waited* seconds; 0 when one lay ready."""

    def returned(self, held: float) -> None:
        """Hear that a connection came back after *held* seconds."""

    def timed_out(self) -> None:
        """Hear that a caller waited for as long as it would, and got none."""

    def waiting(self) -> Ended | None:
        """Hear that a caller begins to wait; the result is called with its exception, or None."""

    def dialling(self, host: str) -> Ended | None:
        """Hear of a dial for the pool; the result is called with None or the kind of failure."""

    def dialled(self, seconds: float) -> None:
        """Hear that a connection for the pool was made and tested in *seconds*."""

    def probed(self, host: str, seconds: float, failure: str | None) -> None:
        """Hear that a host was asked; *failure* is the kind of failure, or None."""

    def aborted(self, host: str) -> None:
        """Hear that pgmoor cut a connection to *host*."""

    def searched(self) -> None:
        """Hear that the reconnect coroutine made an attempt."""

    def left(self, host: str, noticed: float) -> None:
        """Hear that the host in use is given up, *noticed* seconds after the first sign of trouble.

        Not called when everyone merely goes back to a preferred host.
        """

    def entered(self, state: str) -> None:
        """Hear that the manager is in another state from now on: a value of `State`."""

    def happened(self, event: Event) -> None:
        """Hear of an event at once; what `subscribe()` calls hears of it in a task of its own."""
