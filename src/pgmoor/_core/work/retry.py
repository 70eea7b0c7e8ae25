"""`Retry`: when a transaction is repeated; and the budget that all repeats of a manager share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pgmoor._core.settings.mistakes import shown
from pgmoor._core.settings.validation import check_duration, is_count
from pgmoor.errors import ConfigError
from pgmoor.health import RepeatFigures

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pgmoor.instruments import Instrument

DEPOSIT = 0.1  # for each success: at most every tenth transaction is a repeat, in the long run
RESERVE = 100
PER_CONNECTION = 10  # a lost host costs one repeat for each connection, or a few


@dataclass(frozen=True, kw_only=True)
class Retry:
    """When `run()`, `transactional()` and `retrying()` repeat a transaction. Durations in seconds.

    Raises `ConfigError` for a value that can't be used.
    """

    attempts: int | None = None
    """How many attempts to make in all; None for no limit but the timeout."""
    idempotent: bool = False
    """Whether the transaction may happen twice: if so, an unknown outcome is repeated, too."""
    lock_not_available: bool = False
    """Whether to repeat if a lock was not available in time (SQLSTATE 55P03), too."""
    backoff_base: float = 0.02
    """The first pause before a repeat. Pauses double ..."""
    backoff_cap: float = 1.0
    """... up to this. Each is drawn at random between 0 and that value (full jitter)."""
    budget: Literal["manager"] | None = "manager"
    """The budget that limits repeats: the manager's, or None for no limit."""

    def __post_init__(self) -> None:
        if self.attempts is not None and not is_count(self.attempts, 1):
            what = f"{shown(self.attempts)} is not a usable count"
            raise ConfigError("attempts", what, "give 1 or more, or None for no limit")
        for name in ("backoff_base", "backoff_cap"):
            check_duration(name, getattr(self, name))
        for name in ("idempotent", "lock_not_available"):
            if not isinstance(given := getattr(self, name), bool):
                what = f"{shown(given)} is neither True nor False"
                raise ConfigError(name, what, "give one of them")
        if self.budget not in ("manager", None):
            raise ConfigError("budget", "unknown value", "leave it out, or give None for no limit")


NEVER = Retry(attempts=1)


class Budget:
    """A token bucket: a repeat takes a token, a success puts a tenth of one back."""

    def __init__(self, connections: int, instruments: Sequence[Instrument] = ()) -> None:
        self._instruments = instruments
        self.most: float = max(RESERVE, PER_CONNECTION * connections)
        self.tokens: float = self.most
        self.repeats = 0  # repeats so far, those without a budget included
        self.refused = 0  # repeats that the budget did not allow

    def figures(self) -> RepeatFigures:
        """Return what is left, and what was done, for the health report."""
        return RepeatFigures(round(self.tokens, 1), self.repeats, self.refused)

    def deposit(self) -> None:
        """Note a success."""
        self.tokens = min(self.tokens + DEPOSIT, self.most)

    def take(self, retry: Retry) -> bool:
        """Return whether a repeat is allowed; if so, count it."""
        if retry.budget is not None:
            if self.tokens < 1:
                self.refused += 1
                for instrument in self._instruments:
                    instrument.repeat_refused()
                return False
            self.tokens -= 1
        self.repeats += 1
        for instrument in self._instruments:
            instrument.repeated()
        return True
