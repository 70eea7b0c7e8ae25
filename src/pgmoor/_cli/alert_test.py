"""`pgmoor alert-test`: sends a message to each channel, and prints the results as a table.

It names a channel by its scheme and its place in the list; no other part of a URL is printed.
"""

from __future__ import annotations

import asyncio
import logging
import time
from time import monotonic
from typing import TYPE_CHECKING

from rich import box
from rich.table import Table
from rich.text import Text

from pgmoor.alerts import Alerts
from pgmoor.alerts._messages import Messages
from pgmoor.alerts._outbox import attempt
from pgmoor.alerts._phrases import Plan

from .tables import BAD, GOOD, MUTED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from pgmoor.alerts._channels import Channel
    from pgmoor.alerts._kinds import Message


async def alert_test(urls: Sequence[str], timeout: float, console: Console) -> bool:
    """Return whether every channel accepted its message within *timeout* seconds.

    Raises `ConfigError` if a URL can't be used.
    """
    # Apprise logs at DEBUG why a message failed; pgmoor.alerts keeps these records from handlers.
    logging.getLogger("apprise").setLevel(logging.DEBUG)
    channels = Alerts(urls)._channels  # noqa: SLF001  the command sends over each by itself
    words = Messages("pgmoor", Plan(), None)
    message = words.message("info", words.test(), time.time())
    results = await asyncio.gather(*(_try(channel, message, timeout) for channel in channels))
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style=MUTED, border_style=MUTED)
    table.add_column("channel", no_wrap=True)
    table.add_column("result", no_wrap=True)
    table.add_column("after", justify="right", no_wrap=True)
    table.add_column("reason", overflow="fold")
    for channel, (failure, seconds) in zip(channels, results, strict=True):
        result = Text("sent", style=GOOD) if failure is None else Text("failed", style=BAD)
        table.add_row(Text(channel.label), result, f"{seconds:.2f} s", Text(failure or ""))
    console.print(table)
    return all(failure is None for failure, _ in results)


async def _try(channel: Channel, message: Message, timeout: float) -> tuple[str | None, float]:
    began = monotonic()
    failure, _ = await attempt(channel, message, timeout)
    return failure, monotonic() - began
