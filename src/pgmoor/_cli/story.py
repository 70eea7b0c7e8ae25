"""The demo's story: one line for each thing done to the servers, event and warning.

How lines look is up to `screen` and `plain`.
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

# Loggers whose warnings repeat what events say.
REPEATED = ("pgmoor.", "psycopg.pool")


class Source(Enum):
    """Where a line comes from."""

    SCENE = "scene"
    DEMO = "demo"  # what the demo does to the servers
    PGMOOR = "pgmoor"  # an event
    LOG = "log"  # a warning from another logger; the demo expects none


class Tone(Enum):
    """Whether a line is good news."""

    PLAIN = "plain"
    GOOD = "good"
    BAD = "bad"


# Events of other classes are bad news.
TONES: Mapping[type[Event], Tone] = {
    ev.HostUp: Tone.PLAIN,
    ev.HostsChanged: Tone.PLAIN,
    ev.RoleChanged: Tone.PLAIN,
    ev.Connected: Tone.GOOD,
    ev.FellQuiet: Tone.PLAIN,
    ev.Awoke: Tone.GOOD,
    ev.Failback: Tone.GOOD,
    ev.Failover: Tone.GOOD,
    ev.OutageEnded: Tone.GOOD,
    ev.StallEnded: Tone.GOOD,
}


@dataclass(frozen=True, slots=True)
class StoryLine:
    """A line of the story, *at* seconds after the demo's start."""

    at: float
    source: Source
    text: str
    tone: Tone = Tone.PLAIN


class Story:
    """The lines so far."""

    def __init__(self) -> None:
        self.began = monotonic()
        self.lines: list[StoryLine] = []
        self.names: Mapping[str, str] = {}
        """The name to show for each `host:port`."""

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return monotonic() - self.began

    def say(self, source: Source, text: str, tone: Tone = Tone.PLAIN) -> None:
        """Add a line."""
        for address, name in self.names.items():
            text = text.replace(address, name)
        self.lines.append(StoryLine(self.elapsed, source, text, tone))

    def add_event(self, event: Event) -> None:
        """Add an event of pgmoor."""
        self.say(Source.PGMOOR, str(event), TONES.get(type(event), Tone.BAD))


class WarningLines(logging.Handler):
    """Adds warnings of other libraries, and exceptions logged by pgmoor, to the story.

    Other warnings of pgmoor repeat its events, and psycopg_pool warns of each connection that a
    fault ends.
    """

    def __init__(self, story: Story, expected: tuple[str, ...] = ()) -> None:
        """Leave out loggers whose names begin with one of *expected*: they say nothing new."""
        super().__init__(logging.WARNING)
        self._story = story
        self._expected = expected

    def emit(self, record: logging.LogRecord) -> None:
        if self._expected and record.name.startswith(self._expected):
            return
        if record.name.startswith(REPEATED) and not record.exc_info:
            return
        text = f"{record.levelname.lower()} from {record.name}: {record.getMessage()}"
        self._story.say(Source.LOG, text, Tone.BAD)
