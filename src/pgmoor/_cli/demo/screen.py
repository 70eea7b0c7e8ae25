"""The demo on a terminal: one screen that is redrawn several times a second."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.layout import Layout
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from pgmoor._cli.frames import FRAME, TALL, LiveScreen, boxed, event_lines, ruled
from pgmoor._cli.graph import LABEL, draw
from pgmoor._cli.tables import ACCENT, BAD, GOOD, MUTED, host_table

from .result_table import result_table

if TYPE_CHECKING:
    from rich.console import Console

    from .board import Board

STEP = 0.25  # seconds for each column of the graph
OVERVIEW = 4  # rows of the graph in the results
RESULT_WIDTH = 100


class Screen(LiveScreen):
    """Draws the board on a terminal, and leaves the results there at the end."""

    def __init__(self, board: Board, console: Console) -> None:
        super().__init__(console)
        self._board = board

    def render(self, width: int, height: int) -> RenderableType:
        return _whole(self._board, width, height)

    def finish(self) -> None:
        """Print the results on the terminal after the live screen is closed."""
        width = min(self.console.width, RESULT_WIDTH)
        self.console.print(_results(self._board, width), width=width)


def _whole(board: Board, width: int, height: int) -> RenderableType:
    tall = height >= TALL
    frame, borders, bars = (boxed, 2, 4) if tall else (ruled, 1, 1)
    if board.beside is not None:
        bars = max(bars // 2, 1)
    fixed = Group(
        _header(board),
        frame("hosts", _hosts(board)),
        frame("commits per second", _graph(board, width - FRAME, bars)),
        frame("faults", result_table(board.titles, board.lanes, board.scene or 0)),
    )
    curves = len(board.lanes)
    graph = curves * (bars + (curves > 1)) + 1
    rows = 1 + (4 + borders) + (graph + borders) + (len(board.scenes) + 2 + borders)
    layout = Layout()
    layout.split_column(
        Layout(fixed, size=rows),
        Layout(frame("events", event_lines(board.story, height - rows - borders)), minimum_size=1),
    )
    return layout


def _results(board: Board, width: int) -> RenderableType:
    return Group(
        _header(board),
        boxed("hosts", _hosts(board)),
        boxed("commits per second", _overview(board, width - FRAME)),
        boxed("faults", Group(result_table(board.titles, board.lanes, -1), "", *_verdicts(board))),
    )


def _header(board: Board) -> RenderableType:
    grid = Table.grid(expand=True, padding=(0, 1))
    grid.add_column(no_wrap=True, ratio=1, overflow="ellipsis")
    grid.add_column(justify="right", no_wrap=True)
    left = Text()
    left.append("pgmoor", style="bold " + ACCENT)
    left.append(f" demo on PostgreSQL {board.pg_version}", style="bold")
    left.append(f"  {board.writers} writers", style=MUTED)
    if board.health is not None:
        pool = board.health.pool
        left.append(
            f", pool {pool.used} of {pool.size} in use, {pool.waiting} waiting", style=MUTED
        )
    grid.add_row(left, Text(f"{board.elapsed:.0f} s", style=MUTED))
    return Padding(grid, (0, 1))


def _hosts(board: Board) -> RenderableType:
    if board.health is None:
        return Text("starting a primary and two standbys", style=MUTED)
    return host_table([(board.name_of(host), host) for host in board.health.hosts])


def _graph(board: Board, width: int, height: int) -> Text:
    """Draw the last seconds, as many as fit."""
    columns = width - LABEL
    now = monotonic()
    # Steps begin at multiples of STEP: a commit stays in its bar while the graph moves on.
    last = now // STEP * STEP
    start = max(board.writing_since or now, last - columns * STEP)
    return _bars(board, start, STEP, max(int((last - start) / STEP), 0), height)


def _overview(board: Board, width: int) -> Text:
    """Draw the whole run."""
    start, end = board.writing_since, board.writing_until
    if start is None or end is None:
        return Text("")
    columns = width - LABEL
    return _bars(board, start, (end - start) / columns, columns, OVERVIEW)


def _bars(board: Board, start: float, step: float, columns: int, height: int) -> Text:
    marks = {
        int((began - start) // step): title.partition(":")[0] for began, title in board.strikes
    }
    rates = {lane.name: lane.ledger.rates(start, step, columns) for lane in board.lanes}
    return draw(rates, marks, height)


def _verdicts(board: Board) -> list[Text]:
    return [
        Text(verdict, style="bold " + (GOOD if lane.is_good(len(board.scenes)) else BAD))
        for lane, verdict in zip(board.lanes, board.verdicts, strict=True)
    ]
