"""An answer that many ask for at once: it is fetched once, and kept for a moment."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

T = TypeVar("T")

# Seconds. While hosts are probed in a burst, a name server or a source of passwords is asked for
# each host once a second, and not once for each dial.
KEPT_FOR = 1.0


class Shared(Generic[T]):
    """Fetches one thing, by one task at a time, whoever asks and whoever gives up meanwhile."""

    def __init__(self, fetch: Callable[[], Coroutine[None, None, T]], name: str) -> None:
        self._fetch = fetch
        self._name = name
        self._task: asyncio.Task[T] | None = None
        self._good_until = float("-inf")

    async def get(self, *, anew: bool = False) -> T:
        """Return the answer, or raise what fetching it raised; *anew* takes no kept answer.

        A caller that is cancelled leaves the work to those who ask next.
        """
        task = self._task
        if task is None or (task.done() and (anew or monotonic() > self._good_until)):
            task = self._task = asyncio.create_task(self._run(), name=self._name)
            task.add_done_callback(_retrieve)
        return await asyncio.shield(task)

    async def _run(self) -> T:
        self._good_until = float("-inf")  # should this fetch fail, its failure is not kept
        answer = await self._fetch()
        self._good_until = monotonic() + KEPT_FOR
        return answer

    def cancel(self) -> None:
        """End the work, if any is under way."""
        if self._task is not None:
            self._task.cancel()


def _retrieve(task: asyncio.Task[T]) -> None:
    """Look at the outcome, so that one nobody waited for is not reported as forgotten."""
    if not task.cancelled():
        task.exception()
