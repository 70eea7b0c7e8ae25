"""How messages about the pool read. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._phrases import Text, duration, place, text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pgmoor import events as ev

MOST_HOLDERS = 10  # in one message


def pool_saturated(event: ev.PoolSaturated) -> Text:
    """Tell that callers get no connection although the host works."""
    refused = "1 caller" if event.refused == 1 else f"{event.refused} callers"
    waiting = "1 caller waits" if event.waiting == 1 else f"{event.waiting} callers wait"
    return text(
        f"pool exhausted, {refused} got no connection",
        f"{event.used} of {event.max_size} connections are in use, and {waiting} for one."
        f" {refused} got none in time.",
        f"Held longest by {event.holders}." if event.holders else "",
        "To do: look for slow queries, or for connections that are not given back."
        " Raise max_size only if the server can carry more.",
    )


def held_too_long(events: Sequence[ev.HeldTooLong]) -> Text:
    """Tell that connections are not given back."""
    title = f"{len(events)} connections held too long"
    if len(events) == 1:
        title = f"connection held for {duration(events[0].seconds)} by {events[0].task}"
    lines = [
        f"{event.task}, for {duration(event.seconds)}: {place(event)}".rstrip(": ")
        for event in events
    ]
    more = len(lines) - MOST_HOLDERS
    if more > 0:
        lines = [*lines[:MOST_HOLDERS], f"and {more} more"]
    return text(
        title,
        "\n".join(["Not given back yet:", *lines]),
        "To do: look for a block that waits for something else while it holds a connection."
        " The log has the whole stack.",
    )
