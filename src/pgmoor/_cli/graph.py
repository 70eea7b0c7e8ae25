"""Draws commits per second as bars of text, with the name of each fault below its start."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from .tables import ACCENT, BAD, MUTED

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

BLOCKS = " ▁▂▃▄▅▆▇█"
STEPS = len(BLOCKS) - 1
LABEL = 7  # columns for the scale on the left


def draw(curves: Mapping[str, Sequence[float]], marks: Mapping[int, str], height: int) -> Text:
    """Return *height* lines of bars for each curve, one column for each rate, and a line of marks.

    All curves have the same scale; if there are several, each begins with its name. A column
    without commits is red at the bottom. *marks* are names for columns.
    """
    top = max([1.0, *(rate for rates in curves.values() for rate in rates)])
    lines = []
    for name, rates in curves.items():
        if len(curves) > 1:
            lines.append(Text(" " * LABEL + name, style="bold"))
        lines += _bars(rates, top, height)
    lines.append(_marks(marks, max(map(len, curves.values()))))
    return Text("\n").join(lines)


def _bars(rates: Sequence[float], top: float, height: int) -> list[Text]:
    lines = []
    for row in range(height, 0, -1):
        scale = f"{top:.0f}/s" if row == height else ("0" if row == 1 else "")
        line = Text(scale.rjust(LABEL - 1) + " ", style=MUTED)
        for rate in rates:
            line.append(*_cell(rate / top * height * STEPS - (row - 1) * STEPS, rate, row))
        lines.append(line)
    return lines


def _cell(steps: float, rate: float, row: int) -> tuple[str, str]:
    if rate == 0:
        return (BLOCKS[1], BAD) if row == 1 else (" ", "")
    # A low rate must look different from none.
    least = 1 if row == 1 else 0
    return BLOCKS[min(max(round(steps), least), STEPS)], ACCENT


def _marks(marks: Mapping[int, str], width: int) -> Text:
    """Return a line with the names below their columns, as far as they fit side by side."""
    line = Text(" " * LABEL)
    for column, name in sorted(marks.items()):
        if not 0 <= column < width or LABEL + column < line.cell_len:
            continue
        line.append(" " * (LABEL + column - line.cell_len))
        line.append("▲", style=BAD)
        room = LABEL + width - line.cell_len
        following = [other for other in marks if other > column]
        if following:
            room = min(room, min(following) - column - 2)
        if room > len(name):
            line.append(f" {name}", style=MUTED)
    return line
