"""What shows a command's work while it runs, and how it is kept up to date."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Protocol, Self

from .story import WarningLines

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from .story import Story

REFRESH_INTERVAL = 0.125  # seconds


class Display(Protocol):
    """Shows the board while the demo runs, and the results at its end."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...

    def update(self) -> None:
        """Show the board as it is now."""

    def finish(self) -> None:
        """Show the results; called once, after the `with` block."""


def start_refresh(display: Display) -> asyncio.Task[None]:
    """Keep the display up to date; if it fails, for example on a closed pipe, end the command."""
    command = asyncio.current_task()
    assert command is not None

    async def refresh() -> None:
        try:
            while True:
                display.update()
                await asyncio.sleep(REFRESH_INTERVAL)
        except Exception:
            command.cancel()
            raise

    return asyncio.create_task(refresh(), name="pgmoor-display")


async def end(task: asyncio.Task[None]) -> None:
    """Cancel a task; raise the exception that ended it before, if there was one."""
    task.cancel()
    await asyncio.wait([task])
    if not task.cancelled():
        task.result()


@contextlib.contextmanager
def warnings_in(story: Story, expected: tuple[str, ...] = ()) -> Iterator[None]:
    """Add logged warnings to the story: on the terminal they would spoil the screen.

    *expected*: how the names of loggers begin that say nothing new.
    """
    handler = WarningLines(story, expected)
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)
