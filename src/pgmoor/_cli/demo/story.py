"""The demo's story: what was done to the servers, and what pgmoor said of it, in a line each.

Turns events into words; how the lines are shown is for `screen` and `plain`.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from enum import Enum
from time import monotonic
from typing import TYPE_CHECKING

from pgmoor import events as ev

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pgmoor.events import Event


COMMON = frozenset({"event", "name", "at"})
TOLD = ("pgmoor.", "psycopg.pool")  # loggers that say what the events say


class Voice(Enum):
    """Who speaks."""

    SCENE = "scene"
    DEMO = "demo"  # what the demo does to the servers
    PGMOOR = "pgmoor"
    LOG = "log"  # a warning from somewhere else, which there should be none of


class Tone(Enum):
    """How a line is meant."""

    PLAIN = "plain"
    GOOD = "good"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Line:
    """Something that happened, *at* seconds after the demo's start."""

    at: float
    voice: Voice
    text: str
    tone: Tone = Tone.PLAIN


class Story:
    """The lines so far."""

    def __init__(self) -> None:
        self.began = monotonic()
        self.lines: list[Line] = []
        self.names: Mapping[str, str] = {}
        """What each `host:port` is called."""

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return monotonic() - self.began

    def say(self, voice: Voice, text: str, tone: Tone = Tone.PLAIN) -> None:
        """Add a line."""
        self.lines.append(Line(self.elapsed, voice, self.rename(text), tone))

    def hear(self, event: Event) -> None:
        """Add what pgmoor says happened."""
        text, tone = tell(event)
        self.say(Voice.PGMOOR, text, tone)

    def rename(self, text: str) -> str:
        """Call the servers by their names."""
        for address, name in self.names.items():
            text = text.replace(address, name)
        return text


# What is not here is told by its name and values.
PHRASES: Mapping[type[Event], tuple[str, Tone]] = {
    ev.HostDown: ("{host} is {status}: {reason}", Tone.BAD),
    ev.RoleChanged: ("{host} was {before}, is {after}", Tone.PLAIN),
    ev.SplitBrain: (
        "split brain: {host} claims timeline {timeline}, {newest_timeline} is newer; not used",
        Tone.BAD,
    ),
    ev.Connected: ("connected to {host} after {seconds:.2f} s", Tone.GOOD),
    ev.Failover: ("failover {before} > {after} in {seconds:.2f} s: {reason}", Tone.GOOD),
    ev.Failback: ("failback {before} > {after}", Tone.GOOD),
    ev.OutageStarted: ("no host qualifies: callers wait", Tone.BAD),
    ev.OutageEnded: ("{host} qualifies after {seconds:.2f} s without a host", Tone.GOOD),
}


def tell(event: Event) -> tuple[str, Tone]:
    """Return an event in words, and whether it is good news."""
    told = event.to_dict()
    if isinstance(event, ev.HostUp):
        again = "" if event.down_for is None else f" again after {event.down_for:.2f} s"
        return f"{event.host} is up{again}: {event.role}", Tone.PLAIN
    if phrase := PHRASES.get(type(event)):
        return phrase[0].format(**told), phrase[1]
    rest = (f"{key} {value}" for key, value in told.items() if key not in COMMON)
    return f"{told['event']}: {', '.join(rest)}", Tone.BAD


class LogLines(logging.Handler):
    """Puts what other libraries warn of, and what pgmoor calls an error, into the story.

    pgmoor's transitions are told by its events, and psycopg_pool warns of each connection that
    they end.
    """

    def __init__(self, story: Story) -> None:
        super().__init__(logging.WARNING)
        self._story = story

    def emit(self, record: logging.LogRecord) -> None:
        if record.name.startswith(TOLD) and not record.exc_info:
            return
        text = f"{record.levelname.lower()} from {record.name}: {record.getMessage()}"
        self._story.say(Voice.LOG, text, Tone.BAD)
