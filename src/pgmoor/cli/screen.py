"""The demo on a terminal: one screen that is drawn anew several times a second.

Only the look is known here; what there is to show is on the board.
"""

from __future__ import annotations

import io
import math
from time import monotonic
from typing import TYPE_CHECKING, Self

from rich import box
from rich.console import Console, Group, RenderableType
from rich.layout import Layout
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.terminal_theme import TerminalTheme
from rich.text import Text

from .graph import LABEL, draw
from .ledger import BIN
from .story import Tone, Voice
from .tables import ACCENT, BAD, GOOD, QUIET, host_table, result_table

if TYPE_CHECKING:
    from pathlib import Path

    from .board import Board
    from .story import Line

FRAME = 4  # columns of a panel's border and padding
TALL = 34  # rows from which on the graph has more than one
OVERVIEW = 4  # rows of the graph of the whole run
SVG_WIDTH = 100
SVG_THEME = TerminalTheme(
    (24, 26, 31),
    (205, 208, 214),
    [
        (40, 44, 52),
        (224, 108, 117),
        (140, 190, 120),
        (220, 185, 110),
        (97, 160, 220),
        (190, 130, 210),
        (96, 186, 200),
        (205, 208, 214),
    ],
    [
        (122, 129, 142),
        (235, 120, 128),
        (152, 205, 130),
        (235, 200, 125),
        (110, 175, 235),
        (205, 145, 225),
        (110, 200, 215),
        (240, 242, 246),
    ],
)


class Screen:
    """Draws the board on a terminal, and leaves the results there at the end."""

    def __init__(self, board: Board, console: Console) -> None:
        self._board = board
        self._console = console
        self._live = Live(console=console, screen=True, auto_refresh=False)

    def __enter__(self) -> Self:
        self._live.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.__exit__(None, None, None)

    def update(self) -> None:
        """Draw it as it is now."""
        width, height = self._console.size
        self._live.update(_whole(self._board, width, height), refresh=True)

    def finish(self) -> None:
        """Leave the results on the terminal, after the screen is gone."""
        width = min(self._console.width, SVG_WIDTH)
        self._console.print(_results(self._board, width), width=width)


def save_svg(board: Board, path: Path) -> None:
    """Save the results as a picture."""
    console = Console(
        record=True,
        file=io.StringIO(),
        force_terminal=True,
        width=SVG_WIDTH,
        color_system="truecolor",
    )
    console.print(_results(board, SVG_WIDTH))
    console.save_svg(str(path), title="pgmoor demo", theme=SVG_THEME)


def _whole(board: Board, width: int, height: int) -> RenderableType:
    bars = 4 if height >= TALL else 1
    fixed = Group(
        _header(board),
        _panel("hosts", _hosts(board)),
        _panel("commits a second", _graph(board, width - FRAME, bars)),
        _panel("faults", result_table(board.scenes, board.outcomes, board.scene or 0)),
    )
    rows = 1 + (3 + 3) + (bars + 1 + 2) + (len(board.scenes) + 2 + 2)
    layout = Layout()
    layout.split_column(
        Layout(fixed, size=rows),
        Layout(_panel("events", _events(board, height - rows - 2)), minimum_size=3),
    )
    return layout


def _results(board: Board, width: int) -> RenderableType:
    return Group(
        _header(board),
        _panel("hosts", _hosts(board)),
        _panel("commits a second", _overview(board, width - FRAME)),
        _panel(
            "faults", Group(result_table(board.scenes, board.outcomes, -1), "", _verdict(board))
        ),
    )


def _panel(title: str, body: RenderableType) -> Panel:
    return Panel(
        body,
        title=Text(title, style=QUIET),
        title_align="left",
        box=box.ROUNDED,
        border_style=QUIET,
        padding=(0, 1),
    )


def _header(board: Board) -> Table:
    grid = Table.grid(expand=True, padding=(0, 1))
    grid.add_column(no_wrap=True, ratio=1, overflow="ellipsis")
    grid.add_column(justify="right", no_wrap=True)
    left = Text(" ")
    left.append("pgmoor", style="bold " + ACCENT)
    left.append(f" demo on PostgreSQL {board.pg_version}", style="bold")
    left.append(f"  {board.writers} writers", style=QUIET)
    if board.health is not None:
        pool = board.health.pool
        left.append(f", pool {pool.used} of {pool.size} in use, {pool.waiting} wait", style=QUIET)
    grid.add_row(left, Text(f"{board.elapsed:.0f} s ", style=QUIET))
    return grid


def _hosts(board: Board) -> RenderableType:
    if board.health is None:
        return Text("starting a primary and two standbys", style=QUIET)
    return host_table([(board.name_of(host), host) for host in board.health.hosts])


def _graph(board: Board, width: int, height: int) -> Text:
    """Draw the last seconds, or before the end all that there is room for."""
    columns = width - LABEL
    last = monotonic()
    start = max(board.writing_since or last, last - columns * BIN)
    return _bars(board, start, BIN, min(int((last - start) / BIN), columns), height)


def _overview(board: Board, width: int) -> Text:
    """Draw the whole run."""
    start = board.writing_since or monotonic()
    last = max(board.writing_until or start, start)
    step = BIN * max(1, math.ceil((last - start) / BIN / (width - LABEL)))
    return _bars(board, start, step, int((last - start) / step), OVERVIEW)


def _bars(board: Board, start: float, step: float, columns: int, height: int) -> Text:
    marks = {
        int((began - start) // step): title.partition(":")[0] for began, title in board.strikes
    }
    return draw(board.ledger.rates(start, step, columns), marks, height)


def _verdict(board: Board) -> Text:
    return Text(board.verdict, style="bold " + (GOOD if board.good else BAD))


def _events(board: Board, rows: int) -> Text:
    return Text("\n").join(_line(line) for line in board.story.lines[-max(rows, 1) :])


def _line(line: Line) -> Text:
    if line.voice is Voice.SCENE:
        return Text(f"{line.at:6.2f}  {line.text}", style="bold", no_wrap=True)
    text = Text(f"{line.at:6.2f}  ", style=QUIET, no_wrap=True, overflow="ellipsis")
    voice = {Voice.PGMOOR: ACCENT, Voice.DEMO: QUIET, Voice.LOG: BAD}[line.voice]
    text.append(f"{line.voice.value:<6}  ", style=voice)
    text.append(line.text, style={Tone.GOOD: GOOD, Tone.BAD: BAD, Tone.PLAIN: ""}[line.tone])
    return text
