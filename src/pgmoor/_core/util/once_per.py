"""Limits how often something is reported."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

K = TypeVar("K")


class OncePer(Generic[K]):
    """Allows each key once in a period of *seconds*. Pure: it takes the clock's value."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._last: dict[K, float] = {}

    def allows(self, now: float, key: K) -> bool:
        """Return whether the period since the last time is over; if it is, begin another."""
        if now - self._last.get(key, float("-inf")) < self._seconds:
            return False
        self._last[key] = now
        return True

    def forget(self, is_gone: Callable[[K], bool]) -> None:
        """Forget the keys that are gone."""
        self._last = {key: at for key, at in self._last.items() if not is_gone(key)}
