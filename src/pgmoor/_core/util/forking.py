"""What has to be let go in a forked child: it shares every socket with its parent."""

from __future__ import annotations

import os
from typing import Protocol
from weakref import WeakSet


class Disownable(Protocol):
    """Something that belongs to the process that made it."""

    def _disown(self) -> None:
        """Forget everything that belongs to the parent process; called in the child."""


_living: WeakSet[Disownable] = WeakSet()


def register(thing: Disownable) -> None:
    """Have `thing._disown()` called in every child that is forked while *thing* lives."""
    _living.add(thing)


def unregister(thing: Disownable) -> None:
    """Forget *thing*: it holds nothing of this process any more."""
    _living.discard(thing)


def _after_fork_in_child() -> None:
    things = tuple(_living)
    _living.clear()
    for thing in things:
        thing._disown()  # noqa: SLF001  private to both sides


if hasattr(os, "register_at_fork"):  # where a process can be forked at all
    os.register_at_fork(after_in_child=_after_fork_in_child)
