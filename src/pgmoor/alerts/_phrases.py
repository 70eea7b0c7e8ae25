"""The phrases that messages are made of: durations, times of day, how a host is. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pgmoor.config import Settings
    from pgmoor.events import HeldTooLong

MOST_IN_TITLE = 3  # hosts
WANTED = {
    "primary": "a primary",
    "standby": "a standby",
    "read-write": "a host that accepts writes",
    "read-only": "a host that refuses writes",
}
STATUS = {
    "down": "down",
    "silent": "does not answer",
    "starting": "does not accept connections yet",
    "rejected": "turns us away",
}


class Text(NamedTuple):
    """What a message says, before it is addressed."""

    title: str
    paragraphs: tuple[str, ...]


def text(title: str, *paragraphs: str) -> Text:
    """Return a text; empty paragraphs are left out."""
    return Text(title, tuple(part for part in paragraphs if part))


def duration(seconds: float) -> str:
    """Return a duration in the units in which people speak of it."""
    if seconds < 9.95:
        return f"{max(seconds, 0.0):.2g} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        size, unit, part, lesser = 60, "min", 1, "s"
    elif whole < 86400:
        size, unit, part, lesser = 3600, "h", 60, "min"
    else:
        size, unit, part, lesser = 86400, "d", 3600, "h"
    rest = whole % size // part
    return f"{whole // size} {unit}" + (f" {rest} {lesser}" if rest else "")


def clock(at: float) -> str:
    """Return the time of day, in UTC, of an instant in seconds since the epoch."""
    return datetime.fromtimestamp(at, UTC).strftime("%H:%M:%S UTC")


def date(at: float) -> str:
    """Return the date and the time of day, in UTC."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def line(at: float, lasted: float | None, what: str) -> str:
    """Return one line of a digest."""
    ended = "" if lasted is None else f", {duration(lasted)}"
    return f"{clock(at)}{ended}: {what}"


def state_of(status: str, reason: str) -> str:
    """Return how a host is that can't be used."""
    words = STATUS.get(status, status)
    reason = " ".join(reason.split())
    return f"{words} ({reason})" if reason else words


def in_short(hosts: Mapping[str, str]) -> str:
    """Return how the hosts are, for a title."""
    if len(hosts) == 1:
        ((host, state),) = hosts.items()
        return f"{host} {state}"
    if len(hosts) > MOST_IN_TITLE:
        return f"none of {len(hosts)} hosts will do"
    return ", ".join(f"{host} {state.partition(' (')[0]}" for host, state in hosts.items())


def listed(hosts: Mapping[str, str]) -> str:
    """Return one line for each host."""
    return "\n".join(f"{host}: {state}" for host, state in hosts.items())


def place(event: HeldTooLong) -> str:
    """Return the innermost place of a stack, without the source text: it may hold a secret."""
    places = [text.strip() for text in event.stack.splitlines() if text.startswith('  File "')]
    return places[-1] if places else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What the manager does in an outage, as its settings have it; durations in seconds."""

    target: str = "any"
    when_down: str = "wait"
    timeout: float = 30.0
    backoff_cap: float = 1.0
    max_tries: int | None = None
    max_time: float | None = None
    stall_timeout: float = 15.0

    @classmethod
    def of(cls, settings: Settings) -> Plan:
        """Return the plan of a manager."""
        names = cls.__dataclass_fields__.keys() - {"target"}
        values = {name: getattr(settings, name) for name in names}
        return cls(target=settings.target.value, **values)

    @property
    def wanted(self) -> str:
        """What a host has to be."""
        return f"Wanted: {WANTED[self.target]}." if self.target in WANTED else ""

    @property
    def search(self) -> str:
        """What is done to find a host."""
        ends = [
            f"after {self.max_tries} tries" if self.max_tries is not None else "",
            f"after {duration(self.max_time)}" if self.max_time is not None else "",
        ]
        limit = " or ".join(end for end in ends if end)
        until = f"gives up {limit}" if limit else "goes on until one will do"
        pause = duration(self.backoff_cap)
        return f"pgmoor asks every host again, at most {pause} apart, and {until}."

    @property
    def callers(self) -> str:
        """What those meet who want a connection."""
        if self.when_down == "fail":
            return "Callers fail at once with NoHostAvailable."
        return f"Callers wait up to {duration(self.timeout)} for a connection, then fail."
