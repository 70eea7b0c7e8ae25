"""The demo as lines of text with timestamps, for a pipe, a log or a screen reader.

No colours and no cursor movements.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Self

from rich.console import Console

from pgmoor._cli.story import Source

from .result_table import result_table

if TYPE_CHECKING:
    from pgmoor._cli.story import StoryLine

    from .board import Board

STATE_INTERVAL = 2.0  # seconds between two lines with the state


class Plain:
    """Prints the story as it happens, and the state every other second."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._last_state = 0.0
        self._printed = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def update(self) -> None:
        """Print new lines, and the state if it is due."""
        board = self._board
        for line in board.story.lines[self._printed :]:
            self._printed += 1
            self._print_line(line)
        if board.health is None or board.elapsed - self._last_state < STATE_INTERVAL:
            return
        self._last_state = board.elapsed
        hosts = ", ".join(
            f"{board.name_of(host)} {host.role_label if host.status == 'up' else host.status}"
            for host in board.health.hosts
        )
        pool = board.health.pool
        self._print(
            board.elapsed,
            "state",
            f"{self._rates()}; {hosts}; pool {pool.used}/{pool.size}, {pool.waiting} waiting",
        )

    def _rates(self) -> str:
        board = self._board
        if board.beside is None:
            return f"{board.lane.ledger.rate():.0f} commits/s"
        rates = (f"{lane.name} {lane.ledger.rate():.0f} commits/s" for lane in board.lanes)
        return ", ".join(rates)

    def finish(self) -> None:
        """Print the results."""
        self.update()
        board = self._board
        console = Console(no_color=True, highlight=False, width=80, emoji=False)
        console.print()
        console.print(result_table(board.titles, board.lanes))
        for verdict in board.verdicts:
            console.print(verdict)

    def _print_line(self, line: StoryLine) -> None:
        if line.source is Source.SCENE:
            self._write("")
        self._print(line.at, line.source.value, line.text)

    def _print(self, at: float, source: str, text: str) -> None:
        self._write(f"{at:7.2f}  {source:<6}  {text}")

    def _write(self, text: str) -> None:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
