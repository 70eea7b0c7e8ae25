"""What the writers saw of each fault, and the table of it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from rich import box
from rich.table import Table
from rich.text import Text

from pgmoor._cli.tables import ACCENT, BAD, GOOD, MUTED

if TYPE_CHECKING:
    from collections.abc import Sequence

COLUMNS = ("after\nfault", "after\nwritable", "ops\nfailed", "rows\nlost", "written\ntwice")


@dataclass(frozen=True, slots=True)
class SceneResult:
    """What the writers saw of one fault; durations in seconds.

    `back` counts from the start of the fault, `back_writable` from the moment a server could commit
    again. Both end when every writer had committed an operation that began after the fault and
    after the last error. None: that did not happen.
    """

    fault: str
    back: float | None
    back_writable: float | None
    failed: int
    lost: int
    twice: int

    @property
    def good(self) -> bool:
        """Whether every writer works again, no row was lost and none was written twice."""
        return self.back is not None and not self.lost and not self.twice

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            key: round(value, 3) if isinstance(value, float) else value
            for key, value in asdict(self).items()
        }


def result_table(
    titles: Sequence[str], results: Sequence[SceneResult], current: int | None = None
) -> Table:
    """Return the table of faults; a fault without a result yet has empty cells."""
    table = Table(
        box=box.SIMPLE_HEAD if current is None else None,
        expand=True,
        pad_edge=False,
        header_style=MUTED,
        border_style=MUTED,
        padding=(0, 2, 0, 0),
    )
    table.add_column("fault", ratio=1, no_wrap=True, overflow="ellipsis")
    for column in COLUMNS:
        table.add_column(column, justify="right", no_wrap=True)
    for number, title in enumerate(titles):
        if number < len(results):
            table.add_row(*_row(results[number]))
        elif number == current:
            table.add_row(Text(title, style="bold"), Text("now", style=ACCENT))
        else:
            table.add_row(Text(title, style=MUTED))
    return table


def _row(result: SceneResult) -> list[Text]:
    return [
        Text(result.fault),
        _duration(result.back),
        _duration(result.back_writable),
        Text(str(result.failed)),
        _must_be_zero(result.lost),
        _must_be_zero(result.twice),
    ]


def _duration(seconds: float | None) -> Text:
    if seconds is None:
        return Text("never", style=BAD + " bold")
    return Text(f"{seconds:.2f} s")


def _must_be_zero(count: int) -> Text:
    return Text(str(count), style=BAD + " bold" if count else GOOD)
