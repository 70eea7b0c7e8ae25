"""Plays events to the triage of alerts with a simulated clock, and keeps what is sent when."""

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
    """Events at instants of a clock, and the messages that they led to."""

    def __init__(
        self,
        rules: AlertRules | None = None,
        *,
        hosts: tuple[str, ...] = HOSTS,
        plan: Plan | None = None,
    ) -> None:
        rules = rules or AlertRules()
        messages = Messages("orders", plan or Plan(), rules.remind)
        self.triage = Triage(rules, messages, hosts)
        self.sent: list[tuple[float, Message]] = []

    def play(self, events: Mapping[float, Event | tuple[Event, ...]], end: float) -> None:
        """Hand over the events, and tick whenever something is due, up to *end*."""
        for instant, happened in sorted(events.items()):
            if instant > end:
                break
            self.wait(instant)
            for event in happened if isinstance(happened, tuple) else (happened,):
                self._keep(instant, self.triage.handle(replace(event, at=EPOCH + instant), instant))
        self.wait(end)

    def wait(self, end: float) -> None:
        """Tick whenever something is due, up to *end*."""
        while (due := self.triage.due) is not None and due <= end:
            self._keep(due, self.triage.tick(due))
            assert self.triage.due != due, "a tick must make progress"

    def close(self, now: float) -> None:
        """Close the triage."""
        self._keep(now, self.triage.close(now))

    def titles(self) -> list[tuple[float, str]]:
        """Return when each message was sent, and its title without the manager's name."""
        return [(round(at, 3), message.title.removeprefix("orders: ")) for at, message in self.sent]

    def text(self, number: int = -1) -> str:
        """Return the text of one message."""
        return self.sent[number][1].text

    def _keep(self, at: float, messages: list[Message]) -> None:
        self.sent += [(at, message) for message in messages]
