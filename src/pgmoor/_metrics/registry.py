"""The managers that one exporter reports on."""

from __future__ import annotations

from dataclasses import dataclass
from threading import RLock
from typing import TYPE_CHECKING

from pgmoor.health import State

from .readings import read
from .tally import Tally

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pgmoor import ConnectionManager
    from pgmoor.health import Health

    from .readings import Reading


@dataclass(frozen=True, eq=False, slots=True)
class Source:
    """One manager, its tally, and what ends that being fed."""

    manager: ConnectionManager
    tally: Tally
    detach: Callable[[], None]

    @classmethod
    def of(cls, manager: ConnectionManager) -> Source:
        """Begin to count what *manager* does."""
        tally = Tally.of(manager)
        return cls(manager, tally, manager.instrument(tally))

    @property
    def name(self) -> str:
        """The manager's name."""
        return self.manager.name

    @property
    def closed(self) -> bool:
        """Whether the manager is closed for good."""
        return self.report().state == State.CLOSED.value

    def report(self) -> Health:
        """Return the manager's condition. It may be asked for from any thread."""
        return self.manager.snapshot()

    def read(self) -> Iterator[Reading]:
        """Yield all readings as they are now."""
        return read(self.report(), self.tally)


class Registry:
    """The managers that one exporter reports on, each under a name of its own.

    May be added to, removed from and iterated in any thread.
    """

    def __init__(self) -> None:
        self._all: tuple[Source, ...] = ()  # replaced as a whole
        self._changing = RLock()

    def __iter__(self) -> Iterator[Source]:
        return iter(self._all)

    def add(self, manager: ConnectionManager) -> Source:
        """Begin to report on *manager*, in the place of a closed one of its name.

        Raises `ValueError` when an open one of its name, or the manager itself, is there already.
        """
        with self._changing:
            for source in self:
                if source.name == manager.name:
                    if not source.closed:
                        raise ValueError(
                            f"a manager named {manager.name!r} is reported on already;"
                            " give each a name of its own"
                        )
                    self.remove(source)
            source = Source.of(manager)
            self._all = (*self._all, source)
        return source

    def remove(self, source: Source) -> None:
        """Report on a manager no longer. Harmless when it is not reported on."""
        source.detach()
        with self._changing:
            self._all = tuple(other for other in self._all if other is not source)
