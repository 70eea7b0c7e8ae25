"""The managers that one exporter reports on."""

from __future__ import annotations

from dataclasses import dataclass
from threading import RLock
from typing import TYPE_CHECKING, Any

from pgmoor._core.manager.given import require_manager
from pgmoor.health import State

from .readings import read
from .tally import Tally

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pgmoor import ConnectionManager

    from .readings import Reading


@dataclass(frozen=True, eq=False, slots=True)
class RegisteredManager:
    """A manager, its tally, and the function that detaches the tally."""

    manager: ConnectionManager[Any]
    tally: Tally
    detach: Callable[[], None]

    @classmethod
    def of(cls, manager: ConnectionManager[Any]) -> RegisteredManager:
        """Attach a tally to *manager*."""
        tally = Tally.of(manager)
        return cls(manager, tally, manager.instrument(tally))

    @property
    def name(self) -> str:
        """The manager's name."""
        return self.manager.name

    @property
    def closed(self) -> bool:
        """Whether the manager is closed."""
        return self.manager.snapshot().state == State.CLOSED.value

    def read(self) -> Iterator[Reading]:
        """Yield all readings as of now."""
        return read(self.manager.snapshot(), self.tally)


class Registry:
    """The managers that one exporter reports on, each with a unique name. Safe in any thread."""

    def __init__(self) -> None:
        self._all: tuple[RegisteredManager, ...] = ()  # replaced as a whole
        self._changing = RLock()

    def __iter__(self) -> Iterator[RegisteredManager]:
        return iter(self._all)

    def add(self, manager: ConnectionManager[Any]) -> RegisteredManager:
        """Start reporting on *manager*, in place of a closed one of the same name.

        Raises:
            ValueError: An open manager of that name, or *manager* itself, is already registered.
            TypeError: It is no manager.
        """
        require_manager(manager, "an exporter of metrics")
        with self._changing:
            for other in self:
                if other.name == manager.name:
                    if not other.closed:
                        raise ValueError(
                            f"a manager named {manager.name!r} is already reported on; give each"
                            " manager a unique name"
                        )
                    self.remove(other)
            registered = RegisteredManager.of(manager)
            self._all = (*self._all, registered)
        return registered

    def remove(self, registered: RegisteredManager) -> None:
        """Stop reporting on a manager. Does nothing if it is not registered."""
        registered.detach()
        with self._changing:
            self._all = tuple(other for other in self._all if other is not registered)
