"""What lasts, and how far it is announced: after a while, once, with reminders, or in digests.

Knows no events. Pure: instants are arguments, in seconds of a monotonic clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from . import _followups
from ._flapping import FlappingDetector, Verdict
from ._phrases import digest_line

if TYPE_CHECKING:
    from collections.abc import Callable

    from ._kinds import AlertRules, Kind, Message, Severity
    from ._messages import Messages
    from ._phrases import Text

LASTING = 60.0  # seconds; what lasts so long is announced on its own even while it flaps
# Seconds. An event that repeats each minute is over when it has not come for so long.
EXPIRY = 150.0
# The message about an outage covers these.
COVERED_BY_OUTAGE: frozenset[Kind] = frozenset({"rejected", "host_down", "dial_failed"})
# These count as flapping even if each is too short to be announced.
COUNTED_IF_SHORT: frozenset[Kind] = frozenset({"outage", "stall"})


class Announced(Enum):
    """How a condition has been announced so far."""

    NOT_YET = "not yet"
    IN_DIGEST = "in the next digest"  # on its own if it lasts
    ALONE = "on its own"
    COVERED = "with an outage or a failover"


@dataclass(slots=True)
class Condition:
    """Something that has lasted since *since*, and is next announced at *due*."""

    kind: Kind
    host: str
    since: float
    due: float | None
    summary: str  # its line in a digest
    text: Callable[[float], Text]  # takes how long it has lasted
    expires: float | None = None  # it is over then, unless its event comes again
    announced: Announced = Announced.NOT_YET


class Conditions:
    """All that lasts at the moment, and what waits for a digest."""

    def __init__(self, rules: AlertRules, messages: Messages) -> None:
        self._rules = rules
        self._messages = messages
        self._lasting: dict[tuple[Kind, str], Condition] = {}
        self._detectors: dict[Kind, FlappingDetector] = {}
        self._pending: list[Message] = []
        self.epoch_offset = 0.0  # add it to an instant for a Unix timestamp

    @property
    def due(self) -> float | None:
        """When `tick()` next has something to do."""
        instants = [
            *(condition.due for condition in self._lasting.values()),
            *(condition.expires for condition in self._lasting.values()),
            *(detector.due for detector in self._detectors.values()),
        ]
        return min((instant for instant in instants if instant is not None), default=None)

    def take_messages(self) -> list[Message]:
        """Return the messages to be sent, in order, and forget them."""
        messages, self._pending = self._pending, []
        return messages

    def get(self, kind: Kind, host: str = "") -> Condition | None:
        """Return a condition that lasts."""
        return self._lasting.get((kind, host))

    # -- what happens --------------------------------------------------------------------------

    def begin(self, condition: Condition) -> None:
        """Begin a condition, or give one that lasts already the newer texts."""
        known = self._lasting.setdefault((condition.kind, condition.host), condition)
        known.summary, known.text = condition.summary, condition.text
        known.expires = condition.expires

    def drop(self, kind: Kind, host: str = "") -> Condition | None:
        """End a condition without a message; return it."""
        return self._lasting.pop((kind, host), None)

    def drop_host(self, host: str) -> None:
        """End all conditions of a host without a message: it has left the list."""
        self._lasting = {key: value for key, value in self._lasting.items() if key[1] != host}

    def end(self, kind: Kind, host: str, now: float, over: Text | None = None) -> None:
        """End a condition; if it was announced, announce the end with *over* or a standard text."""
        condition = self.drop(kind, host)
        if condition is None or self._severity(kind) is None:
            return
        lasted = now - condition.since
        began = self.timestamp(condition.since)
        line = digest_line(began, lasted, condition.summary)
        match condition.announced:
            case Announced.NOT_YET if kind in COUNTED_IF_SHORT:
                if self._record(kind, line, now) is Verdict.COLLECT:
                    self._detector(kind).collect(line)
            case Announced.IN_DIGEST:
                self._detector(kind).collect(line)
            case Announced.NOT_YET:
                pass
            case Announced.COVERED if self.get("outage"):
                pass
            case _:
                over = over or _followups.recovered(kind, host, began, lasted)
                self._send(self._severity("recovered"), over, now)

    def announce_once(self, kind: Kind, summary: str, text: Text, now: float) -> None:
        """Announce something that does not last."""
        if self._severity(kind) is None:
            return
        line = digest_line(self.timestamp(now), None, summary)
        match self._record(kind, line, now):
            case Verdict.SEND:
                self._send(self._severity(kind), text, now)
            case Verdict.COLLECT:
                self._detector(kind).collect(line)

    def mark_announced(self, kind: Kind, now: float) -> None:
        """Treat a condition as announced: a message of another kind has just reported it."""
        if condition := self.get(kind):
            self._mark(condition, Announced.ALONE, now)

    def mark_covered(self, host: str, now: float) -> None:
        """Treat what lasts on a host as announced: the message about a failover reports it."""
        for condition in self._lasting.values():
            unannounced = condition.announced is Announced.NOT_YET
            if unannounced and condition.host == host and condition.kind in COVERED_BY_OUTAGE:
                self._mark(condition, Announced.COVERED, now)

    # -- what is due ---------------------------------------------------------------------------

    def tick(self, now: float) -> None:
        """Announce what is due."""
        outages_first = sorted(self._lasting.values(), key=lambda item: item.kind != "outage")
        for condition in outages_first:
            if condition.expires is not None and condition.expires <= now:
                self._expire(condition, now)
            elif condition.due is not None and condition.due <= now:
                self._announce(condition, now)
        for kind, detector in self._detectors.items():
            if detector.due is not None and detector.due <= now:
                self._continue_or_end_digests(kind, detector, now)

    def flush(self, now: float) -> None:
        """Send what waits for a digest now: there will be no later one."""
        for kind, detector in self._detectors.items():
            self._send_digest(kind, detector, now)

    def _expire(self, condition: Condition, now: float) -> None:
        last = self.timestamp(now - EXPIRY)
        over = _followups.ceased(condition.kind, condition.host, last)
        self.end(condition.kind, condition.host, now, over)

    def _announce(self, condition: Condition, now: float) -> None:
        kind, severity = condition.kind, self._severity(condition.kind)
        if severity is None:
            condition.due = None
            return
        covering = kind in COVERED_BY_OUTAGE and self._severity("outage") is not None
        outage = self.get("outage") if covering else None
        text = condition.text(now - condition.since)
        match condition.announced:
            case Announced.COVERED if outage is not None:
                self._mark(condition, Announced.COVERED, now)
            case Announced.ALONE | Announced.COVERED:
                self._send(severity, _followups.reminder(text, now - condition.since), now)
                self._mark(condition, condition.announced, now)
            case _ if outage is not None and outage.announced is Announced.NOT_YET:
                condition.due = outage.due  # the outage covers it, if that lasts
            case _ if outage is not None:
                self._mark(condition, Announced.COVERED, now)
            case Announced.IN_DIGEST:
                self._send(severity, text, now)
                self._mark(condition, Announced.ALONE, now)
            case Announced.NOT_YET:
                self._announce_first(condition, severity, text, now)

    def _announce_first(
        self, condition: Condition, severity: Severity, text: Text, now: float
    ) -> None:
        line = digest_line(self.timestamp(condition.since), None, condition.summary)
        if self._record(condition.kind, line, now) is Verdict.SEND:
            self._send(severity, text, now)
            self._mark(condition, Announced.ALONE, now)
        else:
            condition.announced = Announced.IN_DIGEST
            condition.due = max(condition.since + LASTING, now + self._rules.after)

    def _mark(self, condition: Condition, announced: Announced, now: float) -> None:
        condition.announced = announced
        remind = self._rules.remind
        condition.due = None if remind is None else now + remind

    # -- digests -------------------------------------------------------------------------------

    def _detector(self, kind: Kind) -> FlappingDetector:
        detector = self._detectors.get(kind)
        if detector is None:
            detector = FlappingDetector(self._rules.digest, self._rules.burst)
            self._detectors[kind] = detector
        return detector

    def _record(self, kind: Kind, line: str, now: float) -> Verdict:
        """Count an occurrence; report flapping if this one begins it."""
        detector = self._detector(kind)
        verdict = detector.record(now)
        if verdict is Verdict.START_DIGESTS:
            count, seconds = detector.count, detector.seconds
            text = _followups.flapping(kind, count, seconds, line, self._rules.digest)
            self._send(self._severity(kind), text, now)
        return verdict

    def _continue_or_end_digests(self, kind: Kind, detector: FlappingDetector, now: float) -> None:
        sent = self._send_digest(kind, detector, now)
        if sent or any(lasting == kind for lasting, _ in self._lasting):
            detector.continue_digests(now)
            return
        self._send(self._severity("recovered"), _followups.quiet(kind, self._rules.digest), now)
        detector.end_digests()

    def _send_digest(self, kind: Kind, detector: FlappingDetector, now: float) -> bool:
        lines = detector.take_lines()
        lines += [
            digest_line(self.timestamp(condition.since), None, f"{condition.summary}, ongoing")
            for condition in self._lasting.values()
            if condition.kind == kind and condition.announced is Announced.IN_DIGEST
        ]
        if lines:
            text = _followups.digest(kind, lines, self._rules.digest)
            self._send(self._severity(kind), text, now)
        return bool(lines)

    # -- sending -------------------------------------------------------------------------------

    def timestamp(self, instant: float) -> float:
        """Return an instant in seconds since the epoch."""
        return instant + self.epoch_offset

    def _severity(self, kind: Kind) -> Severity | None:
        return self._rules.severities[kind]

    def _send(self, severity: Severity | None, text: Text, now: float) -> None:
        if severity is not None:
            self._pending.append(self._messages.message(severity, text, self.timestamp(now)))
