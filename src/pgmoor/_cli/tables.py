"""The tables and the colours that the commands share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pgmoor import HostHealth

    from .inspection import Inspection

MUTED = "bright_black"
ACCENT = "cyan"
GOOD = "green"
BAD = "red"
WARNING = "yellow"


def host_table(hosts: Sequence[tuple[str, HostHealth]], *, fold: bool = False) -> Table:
    """Return a table of hosts, each with the name to show for it.

    With *fold* a long failure is wrapped; without, it is cut off.
    """
    table = Table(box=None, expand=True, pad_edge=False, header_style=MUTED, padding=(0, 2, 0, 0))
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
            Text(host.status, style=_status_style(host)),
            Text(host.role_label, style=_role_style(host)) if up else Text("-", style=MUTED),
            _figure(str(host.timeline) if host.timeline and up else None),
            _figure(_milliseconds(host.latency) if up else None),
            _figure(_milliseconds(host.lag) if up else None),
            _remark(host),
        )
    return table


def server_table(answers: Mapping[str, Inspection | None]) -> Table:
    """Return a table of what the servers say of themselves, by host."""
    table = Table(box=None, pad_edge=False, header_style=MUTED, padding=(0, 2, 0, 0))
    table.add_column("host", no_wrap=True)
    table.add_column("version", no_wrap=True)
    table.add_column("connections", no_wrap=True)
    table.add_column("TLS", overflow="fold")
    for name, one in answers.items():
        if one is None:
            table.add_row(Text(name), Text("no answer", style=BAD))
            continue
        known = one.used is not None and one.allowed is not None
        table.add_row(
            Text(name),
            _figure(one.version),
            _figure(f"{one.used} of {one.allowed}" if known else None),
            Text(str(one.tls), style="" if one.tls.in_use else MUTED),
        )
    return table


def _status_style(host: HostHealth) -> str:
    return {"up": GOOD, "unknown": MUTED, "starting": WARNING}.get(host.status, BAD)


def _role_style(host: HostHealth) -> str:
    if host.stale:
        return BAD
    if host.role == "primary":
        return "bold" if host.writable else WARNING
    return ""


def _remark(host: HostHealth) -> Text:
    if host.current:
        return Text("in use", style=ACCENT)
    if host.stale:
        return Text(f"never used: {host.stale_because}", style=BAD)
    return Text(host.failure or "", style=MUTED)


def _figure(text: str | None) -> Text:
    return Text("-", style=MUTED) if text is None else Text(text)


def _milliseconds(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    return f"{seconds:.1f} s" if seconds >= 10 else f"{seconds * 1000:.1f} ms"
