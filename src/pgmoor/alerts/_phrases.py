"""The phrases of messages: durations, times, states of hosts, what pgmoor does. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

from pgmoor._core.util.durations import duration
from pgmoor.health import Status

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pgmoor._core.settings.settings import Settings
    from pgmoor.events import Event, HeldTooLong

MAX_HOSTS_IN_TITLE = 3
REQUIREMENTS = {
    "primary": "a primary",
    "standby": "a standby",
    "read-write": "a host that accepts writes",
    "read-only": "a host that refuses writes",
}
# The values of `Status` that a reader could misunderstand without their context.
EXPLAINED = {
    Status.STARTING.value: "accepts no connections",
    Status.REJECTED.value: "rejects our login",
}


class Text(NamedTuple):
    """A message's title and paragraphs, without the manager's name and the signature."""

    title: str
    paragraphs: tuple[str, ...]


def text(title: str, *paragraphs: str) -> Text:
    """Return a text; empty paragraphs are left out."""
    return Text(title, tuple(part for part in paragraphs if part))


def one_line(text: str) -> str:
    """Return *text* with each run of white space replaced by one space."""
    return " ".join(text.split())


def clause(event: Event) -> str:
    """Return what the event says of itself, in one line, to begin a sentence with."""
    said = one_line(str(event)).rstrip(".")
    host = getattr(event, "host", None)
    return said if host and said.startswith(host) else said[:1].upper() + said[1:]


def sentence(event: Event) -> str:
    """Return what the event says of itself as a whole sentence."""
    return f"{clause(event)}."


def clock(at: float) -> str:
    """Return the time of day, in UTC, of a Unix timestamp."""
    return datetime.fromtimestamp(at, UTC).strftime("%H:%M:%S UTC")


def date(at: float) -> str:
    """Return the date and the time of day, in UTC, of a Unix timestamp."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def digest_line(at: float, lasted: float | None, what: str) -> str:
    """Return one line of a digest."""
    ended = "" if lasted is None else f", {duration(lasted)}"
    return f"{clock(at)}{ended}: {what}"


def host_state(status: str, reason: str) -> str:
    """Return the state of a host that can't be used, such as "down (Connection refused)"."""
    words = EXPLAINED.get(status, status)
    reason = one_line(reason)
    return f"{words} ({reason})" if reason else words


def title_states(hosts: Mapping[str, str]) -> str:
    """Return the states of all hosts, short enough for a title."""
    if len(hosts) == 1:
        ((host, state),) = hosts.items()
        return f"{host} {state}"
    if len(hosts) > MAX_HOSTS_IN_TITLE:
        return f"none of {len(hosts)} hosts qualifies"
    return ", ".join(f"{host} {state.partition(' (')[0]}" for host, state in hosts.items())


def host_states(hosts: Mapping[str, str]) -> str:
    """Return the states of all hosts, one line for each."""
    return "\n".join(f"{host}: {state}" for host, state in hosts.items())


def innermost_frame(event: HeldTooLong) -> str:
    """Return where the holder is, without the line of source: it may contain a secret."""
    frames = [line.strip() for line in event.stack.splitlines() if line.startswith('  File "')]
    return frames[-1] if frames else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What the manager does in an outage, from its settings; durations in seconds."""

    target: str = "any"
    when_down: str = "wait"
    timeout: float = 30.0
    backoff_cap: float = 1.0
    max_tries: int | None = None
    max_time: float | None = None
    stall_timeout: float = 15.0

    @classmethod
    def of(cls, settings: Settings) -> Plan:
        """Return the plan of the manager with these settings."""
        names = cls.__dataclass_fields__.keys() - {"target"}
        values = {name: getattr(settings, name) for name in names}
        return cls(target=settings.target.value, **values)

    @property
    def requirement(self) -> str:
        """What a host must be; empty if any host qualifies."""
        return f"Needed: {REQUIREMENTS[self.target]}." if self.target in REQUIREMENTS else ""

    @property
    def search(self) -> str:
        """How the manager looks for a host, and when it gives up."""
        limits = [
            f"after {self.max_tries} tries" if self.max_tries is not None else "",
            f"after {duration(self.max_time)}" if self.max_time is not None else "",
        ]
        limit = " or ".join(filter(None, limits))
        end = f"; it gives up {limit}" if limit else ""
        pause = duration(self.backoff_cap)
        return (
            f"pgmoor probes all hosts, with pauses of up to {pause}, and reconnects by itself as"
            f" soon as one qualifies{end}."
        )

    @property
    def callers(self) -> str:
        """What happens to callers who ask for a connection."""
        if self.when_down == "fail":
            return "Callers fail at once with NoHostAvailable."
        return f"Callers wait up to {duration(self.timeout)} for a connection, then fail."
