"""The demo as lines of text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console

from pgmoor._cli.lines import Lines

from .result_table import result_table

if TYPE_CHECKING:
    from .board import Board


class Plain(Lines):
    """Prints the story as it happens, the state every other second, and the results."""

    def __init__(self, board: Board) -> None:
        super().__init__(board.story)
        self._board = board

    def state(self) -> str | None:
        board = self._board
        if board.health is None:
            return None
        hosts = ", ".join(
            f"{board.name_of(host)} {host.role_label if host.status == 'up' else host.status}"
            for host in board.health.hosts
        )
        pool = board.health.pool
        return f"{self._rates()}; {hosts}; pool {pool.used}/{pool.size}, {pool.waiting} waiting"

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
