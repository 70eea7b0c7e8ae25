"""The structured fields of pgmoor's log lines: what `extra` carries, and under which keys.

Every key begins with `pgmoor_`. logging raises KeyError when `extra` names an attribute that a
LogRecord has, be it logging's own (`name`, `args`, `process`) or one that a program's record
factory adds (often `host`), and structlog's `ExtraAdder` would put a field called `event` in the
place of the message.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pgmoor.events import Event

PREFIX = "pgmoor_"


def fields(event: str, manager: str = "", **values: str | float | None) -> dict[str, object]:
    """Return the `extra` of a log line as plain values, without those that are unknown."""
    known: dict[str, object] = {"event": event, "manager": manager, **values}
    return {PREFIX + key: value for key, value in known.items() if value not in (None, "")}


def fields_of(event: Event) -> dict[str, object]:
    """Return the `extra` of the line that goes with an event: the event's fields."""
    told = {
        name: " ".join(value) if isinstance(value, tuple) else value
        for name, value in event.to_dict().items()
        if name != "at"  # a log record has a time of its own
    }
    return fields(told.pop("event"), **told)
