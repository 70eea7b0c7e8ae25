"""Calls instruments, so that one which fails disturbs nobody."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pgmoor.instruments import Instrument

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from pgmoor.instruments import Ended

METHODS = tuple(name for name in vars(Instrument) if not name.startswith("_"))


class Guarded(Instrument):
    """Calls another instrument until it raises; then it reports the error and drops it."""

    def __init__(self, instrument: Instrument, drop: Callable[[str, Exception], None]) -> None:
        self.instrument = instrument
        self._drop = drop  # takes the method's name and the error
        for name in METHODS:
            setattr(self, name, self._guard(name, getattr(instrument, name)))

    def mute(self) -> None:
        """Call it no more."""
        for name in METHODS:
            setattr(self, name, _ignore)

    def _guard(self, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            try:
                outcome = method(*args)
            except Exception as error:  # noqa: BLE001  the instrument may be anybody's
                self._drop(name, error)
                return None
            return outcome if outcome is None else self._guard(name, outcome)

        return call


def _ignore(*_: Any) -> None:
    """Do what no instrument does."""


class OneMore:
    """The instruments of a list, as it is at each moment, and one more."""

    def __init__(self, others: Sequence[Instrument], one: Instrument) -> None:
        self._others = others
        self._one = one

    def __iter__(self) -> Iterator[Instrument]:
        yield from self._others
        yield self._one


def ended(ends: list[Ended | None], outcome: BaseException | str | None) -> None:
    """Tell the instruments how something ended that they were told the beginning of."""
    for end in ends:
        if end is not None:
            end(outcome)
