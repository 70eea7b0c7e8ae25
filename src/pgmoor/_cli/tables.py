"""The tables that the commands print: hosts and results.

Words and colours only; where they stand on a screen is not known here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich import box
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pgmoor import HostHealth

    from .demo.scenes import Scene, SceneResult

QUIET = "bright_black"
ACCENT = "cyan"
GOOD = "green"
BAD = "red"
DOUBT = "yellow"

NEVER = "never"


def host_table(hosts: Sequence[tuple[str, HostHealth]], *, fold: bool = False) -> Table:
    """Return a table of hosts, each with the name to show for it.

    With *fold* a long failure takes several lines; without it, it is cut off.
    """
    table = Table(box=None, expand=True, pad_edge=False, header_style=QUIET, padding=(0, 2, 0, 0))
    table.add_column("host", no_wrap=True)
    table.add_column("status", no_wrap=True)
    table.add_column("role", no_wrap=True)
    table.add_column("timeline", justify="right", no_wrap=True)
    table.add_column("latency", justify="right", no_wrap=True)
    table.add_column("lag", justify="right", no_wrap=True)
    table.add_column("note", ratio=1, no_wrap=not fold, overflow="fold" if fold else "ellipsis")
    for name, host in hosts:
        up = host.status == "up"
        table.add_row(
            Text(name, style="bold" if host.current else ""),
            Text(host.status, style=status_style(host)),
            Text(host.role_label, style=_role_style(host)) if up else Text("-", style=QUIET),
            # A standby only knows the one of its last checkpoint.
            _figure(
                str(host.timeline) if host.timeline and up and host.role == "primary" else None
            ),
            _figure(_milliseconds(host.latency) if up else None),
            _figure(_milliseconds(host.lag) if up else None),
            _remark(host),
        )
    return table


def status_style(host: HostHealth) -> str:
    """Return the colour of a host's status."""
    return {"up": GOOD, "unknown": QUIET, "starting": DOUBT}.get(host.status, BAD)


def _role_style(host: HostHealth) -> str:
    if host.stale:
        return BAD
    if host.role == "primary":
        return "bold" if host.writable else DOUBT
    return ""


def _remark(host: HostHealth) -> Text:
    if host.current:
        return Text("in use", style=ACCENT)
    if host.stale:
        return Text("never used", style=BAD)
    return Text(host.failure or "", style=QUIET)


def _figure(text: str | None) -> Text:
    return Text("-", style=QUIET) if text is None else Text(text)


def _milliseconds(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    return f"{seconds:.1f} s" if seconds >= 10 else f"{seconds * 1000:.1f} ms"


def result_table(
    scenes: Sequence[Scene], outcomes: Sequence[SceneResult], playing: int | None = None
) -> Table:
    """Return the table of faults; those not played yet have blanks."""
    table = Table(
        box=box.SIMPLE_HEAD if playing is None else None,
        expand=True,
        pad_edge=False,
        header_style=QUIET,
        border_style=QUIET,
        padding=(0, 2, 0, 0),
    )
    table.add_column("fault", ratio=1, no_wrap=True, overflow="ellipsis")
    for title in ("after\nfault", "after\nwritable", "ops\nfailed", "rows\nlost", "written\ntwice"):
        table.add_column(title, justify="right", no_wrap=True)
    for number, scene in enumerate(scenes):
        if number < len(outcomes):
            table.add_row(*_result(outcomes[number]))
        elif number == playing:
            table.add_row(Text(scene.title, style="bold"), Text("now", style=ACCENT))
        else:
            table.add_row(Text(scene.title, style=QUIET))
    return table


def _result(outcome: SceneResult) -> list[Text]:
    bad = BAD + " bold"
    return [
        Text(outcome.fault),
        _duration(outcome.back),
        _duration(outcome.back_writable),
        Text(str(outcome.failed)),
        Text(str(outcome.lost), style=bad if outcome.lost else GOOD),
        Text(str(outcome.twice), style=bad if outcome.twice else GOOD),
    ]


def _duration(seconds: float | None) -> Text:
    if seconds is None:
        return Text(NEVER, style=BAD + " bold")
    return Text(f"{seconds:.2f} s")
