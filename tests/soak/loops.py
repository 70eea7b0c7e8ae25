"""The event loops that a soak may run on; its seed chooses one."""

from __future__ import annotations

import asyncio
import importlib.util
import random
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    Factory = Callable[[], asyncio.AbstractEventLoop]

NAMES = ("asyncio", "uvloop", "eager")


def eager_loop() -> asyncio.AbstractEventLoop:
    """Return asyncio's loop with tasks that begin at once (Python 3.12)."""
    loop = asyncio.new_event_loop()
    if sys.version_info >= (3, 12):
        loop.set_task_factory(asyncio.eager_task_factory)
    return loop


def available() -> dict[str, Factory]:
    """Return the loops that there are here, by name."""
    found: dict[str, Factory] = {"asyncio": asyncio.new_event_loop}
    if importlib.util.find_spec("uvloop"):
        import uvloop

        found["uvloop"] = uvloop.new_event_loop
    if sys.version_info >= (3, 12):
        found["eager"] = eager_loop
    return found


def choose(seed: int) -> str:
    """Return the loop of a seed: the same one wherever it exists."""
    name = random.Random(f"{seed}-loop").choice(NAMES)
    return name if name in available() else "asyncio"
