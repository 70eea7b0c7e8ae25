"""Whose cancellation a `CancelledError` tells of: the task's own, or that of what it awaits."""

from __future__ import annotations

import asyncio


def is_ours() -> bool:
    """Return whether the current task is being cancelled.

    A callable of the user's that awaits a task which was cancelled raises `CancelledError`, too. It
    is an error like any other, and must not end the task that has called it.
    """
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0
