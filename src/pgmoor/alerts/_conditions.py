"""What lasts, and how far it has been told: late enough, once, with reminders, folded if it flaps.

Knows nothing of events. Pure: instants are arguments, in seconds of a clock that only goes forward.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from . import _followups
from ._flapping import Fold, Verdict
from ._phrases import line

if TYPE_CHECKING:
    from collections.abc import Callable

    from ._kinds import AlertRules, Kind, Message, Severity
    from ._messages import Messages
    from ._phrases import Text

LASTING = 60.0  # seconds; what lasts so long while it flaps is told by itself all the same
FORGOTTEN = 150.0  # seconds; what is reported each minute is over when it is not any more
# An outage tells of these, too.
PARTS: frozenset[Kind] = frozenset({"rejected", "host_down", "dial_failed"})
# Those too short to be told count as flapping all the same.
BLIPS: frozenset[Kind] = frozenset({"outage", "stall"})


class Told(Enum):
    """How far a condition has been told."""

    NOT_YET = "not yet"
    FOLDED = "folded"  # into the next digest, unless it lasts
    BY_ITSELF = "by itself"
    WITH_OUTAGE = "with the outage, or the failover"


@dataclass(slots=True)
class Condition:
    """Something that lasts since *since*, and is told next at *due*."""

    kind: Kind
    host: str
    since: float
    due: float | None
    what: str  # for a line of a digest
    text: Callable[[float], Text]  # from how long it has lasted
    expires: float | None = None  # it is over then, unless it is reported again
    told: Told = Told.NOT_YET


class Conditions:
    """All that lasts at the moment, and what is folded."""

    def __init__(self, rules: AlertRules, words: Messages) -> None:
        self._rules = rules
        self._words = words
        self._open: dict[tuple[Kind, str], Condition] = {}
        self._folds: dict[Kind, Fold] = {}
        self._out: list[Message] = []
        self.skew = 0.0  # what makes seconds since the epoch of an instant

    @property
    def due(self) -> float | None:
        """When `tick()` has something to do next."""
        instants = [
            *(condition.due for condition in self._open.values()),
            *(condition.expires for condition in self._open.values()),
            *(fold.due for fold in self._folds.values()),
        ]
        return min((instant for instant in instants if instant is not None), default=None)

    def take(self) -> list[Message]:
        """Return the messages that have become due, in order, and forget them."""
        messages, self._out = self._out, []
        return messages

    def get(self, kind: Kind, host: str = "") -> Condition | None:
        """Return a condition that lasts."""
        return self._open.get((kind, host))

    # -- what happens --------------------------------------------------------------------------

    def open(self, condition: Condition) -> None:
        """Begin a condition; one that lasts already gets the newer texts."""
        known = self._open.setdefault((condition.kind, condition.host), condition)
        known.what, known.text, known.expires = condition.what, condition.text, condition.expires

    def drop(self, kind: Kind, host: str = "") -> Condition | None:
        """End a condition without a word; return it."""
        return self._open.pop((kind, host), None)

    def forget(self, host: str) -> None:
        """End all that is known of a host without a word: it does not count any more."""
        self._open = {key: value for key, value in self._open.items() if key[1] != host}

    def close(self, kind: Kind, host: str, now: float, over: Text | None = None) -> None:
        """End a condition; say *over*, or that it is over, if it was told."""
        condition = self.drop(kind, host)
        if condition is None or self._severity(kind) is None:
            return
        lasted = now - condition.since
        folded = line(self.wall(condition.since), lasted, condition.what)
        match condition.told:
            case Told.FOLDED:
                self._fold(kind).add(folded)
            case Told.NOT_YET if kind in BLIPS and self._occurs(kind, folded, now) is Verdict.FOLD:
                self._fold(kind).add(folded)
            case Told.NOT_YET:
                pass
            case Told.WITH_OUTAGE if self.get("outage"):
                pass
            case _:
                began = self.wall(condition.since)
                over = over or _followups.recovered(kind, host, began, lasted)
                self._say(self._severity("recovered"), over, now)

    def once(self, kind: Kind, what: str, text: Text, now: float) -> None:
        """Tell something that does not last."""
        if self._severity(kind) is None:
            return
        folded = line(self.wall(now), None, what)
        match self._occurs(kind, folded, now):
            case Verdict.TELL:
                self._say(self._severity(kind), text, now)
            case Verdict.FOLD:
                self._fold(kind).add(folded)

    def include(self, host: str, now: float) -> None:
        """Take what is known of a host for told: another message has said it."""
        for condition in self._open.values():
            untold = condition.told is Told.NOT_YET and condition.kind in PARTS
            if untold and condition.host == host:
                self._mark(condition, Told.WITH_OUTAGE, now)

    # -- what falls due ------------------------------------------------------------------------

    def tick(self, now: float) -> None:
        """Tell what falls due."""
        outage_first = sorted(self._open.values(), key=lambda condition: condition.kind != "outage")
        for condition in outage_first:
            if condition.expires is not None and condition.expires <= now:
                self._expire(condition, now)
            elif condition.due is not None and condition.due <= now:
                self._tell(condition, now)
        for kind, fold in self._folds.items():
            if fold.due is not None and fold.due <= now:
                self._digest(kind, fold, now)

    def finish(self, now: float) -> None:
        """Tell what is folded: there will be no later digest."""
        for kind, fold in self._folds.items():
            self._tell_folded(kind, fold, now)

    def _expire(self, condition: Condition, now: float) -> None:
        last = self.wall(now - FORGOTTEN)
        over = _followups.ceased(condition.kind, condition.host, last)
        self.close(condition.kind, condition.host, now, over)

    def _tell(self, condition: Condition, now: float) -> None:
        kind, severity = condition.kind, self._severity(condition.kind)
        outage = self.get("outage") if kind in PARTS and self._severity("outage") else None
        text = condition.text(now - condition.since)
        if severity is None:
            condition.due = None
        elif condition.told in {Told.BY_ITSELF, Told.WITH_OUTAGE}:
            if condition.told is Told.BY_ITSELF or outage is None:
                self._say(severity, _followups.still(text, now - condition.since), now)
            self._mark(condition, condition.told, now)
        elif outage is not None and outage.told is Told.NOT_YET:
            condition.due = outage.due  # it is told with the outage, if that lasts
        elif outage is not None:
            self._mark(condition, Told.WITH_OUTAGE, now)
        elif condition.told is Told.FOLDED:
            self._say(severity, text, now)
            self._mark(condition, Told.BY_ITSELF, now)
        else:
            folded = line(self.wall(condition.since), None, condition.what)
            if self._occurs(kind, folded, now) is Verdict.TELL:
                self._say(severity, text, now)
                self._mark(condition, Told.BY_ITSELF, now)
            else:
                condition.told = Told.FOLDED
                condition.due = max(condition.since + LASTING, now + self._rules.after)

    def told(self, kind: Kind, host: str, now: float) -> None:
        """Take a condition for told: a message of another kind has said it."""
        condition = self.get(kind, host)
        if condition is not None:
            self._mark(condition, Told.BY_ITSELF, now)

    def _mark(self, condition: Condition, told: Told, now: float) -> None:
        condition.told = told
        remind = self._rules.remind
        condition.due = None if remind is None else now + remind

    # -- digests -------------------------------------------------------------------------------

    def _fold(self, kind: Kind) -> Fold:
        fold = self._folds.get(kind)
        if fold is None:
            fold = self._folds[kind] = Fold(self._rules.digest, self._rules.burst)
        return fold

    def _occurs(self, kind: Kind, folded: str, now: float) -> Verdict:
        """Count an occurrence; say so if it is the one by which it flaps."""
        fold = self._fold(kind)
        verdict = fold.occurs(now)
        if verdict is Verdict.TELL_FLAPPING:
            text = _followups.flapping(kind, fold.count, fold.seconds, folded, self._rules.digest)
            self._say(self._severity(kind), text, now)
        return verdict

    def _digest(self, kind: Kind, fold: Fold, now: float) -> None:
        if self._tell_folded(kind, fold, now) or any(key[0] == kind for key in self._open):
            fold.go_on(now)
            return
        self._say(self._severity("recovered"), _followups.quiet(kind, self._rules.digest), now)
        fold.end()

    def _tell_folded(self, kind: Kind, fold: Fold, now: float) -> bool:
        lines = fold.take()
        lines += [
            line(self.wall(condition.since), None, f"{condition.what}, still so")
            for condition in self._open.values()
            if condition.kind == kind and condition.told is Told.FOLDED
        ]
        if lines:
            text = _followups.digest(kind, lines, self._rules.digest)
            self._say(self._severity(kind), text, now)
        return bool(lines)

    # -- saying --------------------------------------------------------------------------------

    def wall(self, instant: float) -> float:
        """Return an instant in seconds since the epoch."""
        return instant + self.skew

    def _severity(self, kind: Kind) -> Severity | None:
        return self._rules.severities[kind]

    def _say(self, severity: Severity | None, text: Text, now: float) -> None:
        if severity is not None:
            self._out.append(self._words.message(severity, text, self.wall(now)))
