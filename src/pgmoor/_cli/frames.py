"""A screen that is redrawn several times a second, and the frames on it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from rich import box
from rich.console import Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.panel import Panel
from rich.rule import Rule
from rich.text import Text

from .story import Source, Tone
from .tables import ACCENT, BAD, GOOD, MUTED

if TYPE_CHECKING:
    from rich.console import Console

    from .story import Story, StoryLine

FRAME = 4  # columns of a box's border and padding
TALL = 34  # terminals of at least so many rows get boxes and a taller graph
SOURCE_STYLES = {Source.PGMOOR: ACCENT, Source.DEMO: MUTED, Source.LOG: BAD}
TONE_STYLES = {Tone.GOOD: GOOD, Tone.BAD: BAD, Tone.PLAIN: ""}


class LiveScreen:
    """Draws on the terminal's other screen; however the `with` block ends, the first is back."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._live = Live(console=console, screen=True, auto_refresh=False)

    def render(self, width: int, height: int) -> RenderableType:
        """Return what is to be drawn."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        self._live.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.__exit__(None, None, None)

    def update(self) -> None:
        """Draw, in the size that the terminal has now."""
        self._live.update(self.render(*self.console.size), refresh=True)


def boxed(title: str, body: RenderableType) -> RenderableType:
    """Return the body in a box."""
    return Panel(
        body,
        title=Text(title, style=MUTED),
        title_align="left",
        box=box.ROUNDED,
        border_style=MUTED,
        padding=(0, 1),
    )


def ruled(title: str, body: RenderableType) -> RenderableType:
    """Return the body below a titled line: one row less than a box."""
    rule = Rule(Text(title, style=MUTED), align="left", style=MUTED)
    return Group(rule, Padding(body, (0, 2)))


def event_lines(story: Story, rows: int) -> RenderableType:
    """Return the newest lines of the story."""
    return Group(*(_line(line) for line in story.lines[-max(rows, 1) :]))


def _line(line: StoryLine) -> Text:
    if line.source is Source.SCENE:
        return Text(f"{line.at:6.2f}  {line.text}", style="bold", no_wrap=True)
    text = Text(f"{line.at:6.2f}  ", style=MUTED, no_wrap=True, overflow="ellipsis")
    text.append(f"{line.source.value:<6}  ", style=SOURCE_STYLES[line.source])
    text.append(line.text, style=TONE_STYLES[line.tone])
    return text
