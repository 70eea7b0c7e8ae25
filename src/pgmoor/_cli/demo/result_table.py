"""The table of faults, for one lane or for two side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich import box
from rich.table import Table
from rich.text import Text

from pgmoor._cli.tables import ACCENT, BAD, GOOD, MUTED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .lane import Lane
    from .results import SceneResult

COLUMNS = ("after\nfault", "after\nwritable", "ops\nfailed", "rows\nlost", "written\ntwice")


def result_table(titles: Sequence[str], lanes: Sequence[Lane], current: int | None = None) -> Table:
    """Return the table of faults; a fault without a result yet has empty cells.

    One lane gets all its figures, two get those that matter most, side by side.
    """
    table = Table(
        box=box.SIMPLE_HEAD if current is None else None,
        expand=True,
        pad_edge=False,
        header_style=MUTED,
        border_style=MUTED,
        padding=(0, 2, 0, 0),
    )
    table.add_column("fault", ratio=1, no_wrap=True, overflow="ellipsis")
    for column in COLUMNS if len(lanes) == 1 else _pairs(lanes):
        table.add_column(column, justify="right", no_wrap=True)
    cells = _row if len(lanes) == 1 else _pair
    for number, title in enumerate(titles):
        found = [lane.results[number] for lane in lanes if number < len(lane.results)]
        if len(found) == len(lanes):
            table.add_row(Text(title), *(cell for result in found for cell in cells(result)))
        elif number == current:
            table.add_row(Text(title, style="bold"), Text("now", style=ACCENT))
        else:
            table.add_row(Text(title, style=MUTED))
    return table


def _pairs(lanes: Sequence[Lane]) -> list[str]:
    return [f"{lane.name}\n{what}" for lane in lanes for what in ("back after", "failed")]


def _pair(result: SceneResult) -> list[Text]:
    return [_duration(result.back, result), Text(f"{result.failed:,}")]


def _row(result: SceneResult) -> list[Text]:
    return [
        _duration(result.back, result),
        _duration(result.back_writable, result),
        Text(f"{result.failed:,}"),
        _must_be_zero(result.lost),
        _must_be_zero(result.twice),
    ]


def _duration(seconds: float | None, result: SceneResult) -> Text:
    if seconds is None:
        return Text(result.back_text, style=BAD + " bold")
    return Text(f"{seconds:.2f} s")


def _must_be_zero(count: int) -> Text:
    return Text(str(count), style=BAD + " bold" if count else GOOD)
