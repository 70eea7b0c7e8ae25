"""What is registered is disowned in a forked child, and in the child only."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from pgmoor._core.util import forking

if TYPE_CHECKING:
    from collections.abc import Callable

# pytest-xdist has threads of its own. The child forks or ends at once, and needs none of them.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")


class Socket:
    """Stands for anything that belongs to the process that made it."""

    def __init__(self) -> None:
        self.disowned = 0

    def _disown(self) -> None:
        self.disowned += 1


def in_child(check: Callable[[], bool]) -> bool:
    """Return whether *check* holds in a forked child, which does nothing else."""
    if (pid := os.fork()) == 0:
        os._exit(0 if check() else 1)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_a_forked_child_disowns_what_is_registered_and_the_parent_keeps_it() -> None:
    registered, unregistered, never = Socket(), Socket(), Socket()
    for socket in (registered, unregistered):
        forking.register(socket)
    forking.unregister(unregistered)
    forking.unregister(never)

    counts = (1, 0, 0)
    assert in_child(lambda: (registered.disowned, unregistered.disowned, never.disowned) == counts)
    assert registered.disowned == 0


def test_a_child_of_the_child_disowns_only_what_the_child_has_made() -> None:
    grandparents = Socket()
    forking.register(grandparents)

    def in_the_child() -> bool:
        parents = Socket()
        forking.register(parents)
        return in_child(lambda: (grandparents.disowned, parents.disowned) == (1, 1))

    assert in_child(in_the_child)


def test_what_is_registered_may_be_garbage_collected() -> None:
    before = len(forking._living)
    forking.register(Socket())

    assert len(forking._living) == before
