"""A judge of alerts with a clock of its own, and what it said when."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pgmoor.alerts._kinds import AlertRules, Message
from pgmoor.alerts._messages import Messages
from pgmoor.alerts._phrases import Plan
from pgmoor.alerts._triage import Triage

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pgmoor.events import Event

EPOCH = 1_800_000_000.0  # 2027-01-15 08:00:00 UTC
HOSTS = ("db1:5432", "db2:5432")


class Story:
    """Plays events at instants of its own clock, and keeps what the judge says, and when."""

    def __init__(
        self,
        rules: AlertRules | None = None,
        *,
        hosts: tuple[str, ...] = HOSTS,
        plan: Plan | None = None,
    ) -> None:
        rules = rules or AlertRules()
        words = Messages("orders", plan or Plan(), rules.remind)
        self.judge = Triage(rules, words, hosts)
        self.told: list[tuple[float, Message]] = []

    def play(self, events: Mapping[float, Event | tuple[Event, ...]], end: float) -> None:
        """Let the judge hear the events, and tick whenever it is due, up to *end*."""
        for instant, happened in sorted(events.items()):
            if instant > end:
                break
            self.wait(instant)
            for event in happened if isinstance(happened, tuple) else (happened,):
                self._say(instant, self.judge.hear(replace(event, at=EPOCH + instant), instant))
        self.wait(end)

    def wait(self, end: float) -> None:
        """Tick whenever the judge is due, up to *end*."""
        while (due := self.judge.due) is not None and due <= end:
            self._say(due, self.judge.tick(due))
            assert self.judge.due != due, "the judge does not advance"

    def close(self, now: float) -> None:
        """Close the judge."""
        self._say(now, self.judge.close(now))

    def titles(self) -> list[tuple[float, str]]:
        """Return when each message was told, and its title, without the manager's name."""
        return [(round(at, 3), message.title.removeprefix("orders: ")) for at, message in self.told]

    def text(self, number: int = -1) -> str:
        """Return the text of one message."""
        return self.told[number][1].text

    def _say(self, at: float, messages: list[Message]) -> None:
        self.told += [(at, message) for message in messages]
