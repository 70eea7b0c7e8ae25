"""The background tasks of one host's pool: named, owned, and reported when they fail."""

from __future__ import annotations

import asyncio
import logging
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

from pgmoor._core.reporting.log_fields import fields
from pgmoor._core.util.asynctools import spawn

if TYPE_CHECKING:
    from collections.abc import Coroutine

logger = logging.getLogger("pgmoor.pool")

CANCEL_PATIENCE = 0.1  # seconds for a cancelled task to end


class PoolTasks:
    """Keeps the tasks until they have ended."""

    def __init__(self, manager: str, host: str) -> None:
        self._manager = manager
        self._host = host
        self._tasks: set[asyncio.Task[None]] = set()
        self._context = copy_context()  # of the background, not of the caller who needs one

    def __bool__(self) -> bool:
        """Whether any task is running."""
        return bool(self._tasks)

    def spawn(self, work: Coroutine[Any, Any, None], what: str) -> asyncio.Task[None]:
        """Run *work* in a task of its own."""
        task = spawn(work, f"pgmoor-{self._host}-{what}", self._context)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            name = task.get_name()
            extra = fields("InternalError", self._manager, host=self._host, task=name)
            logger.error("%s failed", name, exc_info=error, extra=extra)

    async def aclose(self, timeout: float) -> None:
        """Wait *timeout* seconds for all tasks to end, then cancel those that have not."""
        await self._wait(timeout)
        if late := self._others():
            for task in late:
                name = task.get_name()
                extra = fields(
                    "TaskCancelled", self._manager, host=self._host, task=name, timeout=timeout
                )
                logger.warning(
                    "%s did not end within %.1f s; cancelled", name, timeout, extra=extra
                )
                task.cancel()
            await self._wait(min(timeout, CANCEL_PATIENCE))

    async def _wait(self, seconds: float) -> None:
        """Wait for all tasks to end, also for those that others leave behind as they end."""
        clock = asyncio.get_running_loop().time
        deadline = clock() + seconds
        while (tasks := self._others()) and (left := deadline - clock()) > 0:
            await asyncio.wait(tasks, timeout=left)

    def _others(self) -> set[asyncio.Task[None]]:
        return self._tasks - {asyncio.current_task()}
