"""Cancels work at one of its suspensions, counted from the beginning."""

from __future__ import annotations

import asyncio
from typing import Any


async def step(work: Any, at: int) -> Any:
    """Await *work*, and cancel this task at the *at*-th suspension."""
    return await Stepping(work, at)


class Stepping:
    def __init__(self, work: Any, at: int) -> None:
        self._work = work
        self._at = at

    def __await__(self) -> Any:
        iterator = self._work.__await__()
        count = 0
        value: Any = None
        error: BaseException | None = None
        while True:
            try:
                future = iterator.throw(error) if error else iterator.send(value)
            except StopIteration as stop:
                return stop.value
            count += 1
            if count == self._at:
                task = asyncio.current_task()
                assert task is not None
                asyncio.get_running_loop().call_soon(task.cancel)
            value, error = None, None
            try:
                value = yield future
            except BaseException as raised:  # noqa: BLE001  the work gets it
                error = raised
