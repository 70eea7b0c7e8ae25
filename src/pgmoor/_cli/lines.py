"""A story as lines of text with timestamps, for a pipe, a log or a screen reader.

No colours and no cursor movements.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Self

from .story import Source

if TYPE_CHECKING:
    from .story import Story, StoryLine

STATE_INTERVAL = 2.0  # seconds between two lines with the state


class Lines:
    """Prints the story as it happens, and the state every other second."""

    def __init__(self, story: Story) -> None:
        self._story = story
        self._last_state = 0.0
        self._printed = 0

    def state(self) -> str | None:
        """Return the state in a line, if there is one yet."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def update(self) -> None:
        """Print new lines, and the state if it is due."""
        for line in self._story.lines[self._printed :]:
            self._printed += 1
            self._print_line(line)
        now = self._story.elapsed
        state = self.state() if now - self._last_state >= STATE_INTERVAL else None
        if state is not None:
            self._last_state = now
            self._print(now, "state", state)

    def _print_line(self, line: StoryLine) -> None:
        if line.source is Source.SCENE:
            self._write("")
        self._print(line.at, line.source.value, line.text)

    def _print(self, at: float, source: str, text: str) -> None:
        self._write(f"{at:7.2f}  {source:<6}  {text}")

    def _write(self, text: str) -> None:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
