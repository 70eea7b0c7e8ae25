"""`pgmoor install`: makes the table for the idempotency keys of `run()`."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import psycopg
from rich.text import Text

from pgmoor import ConnectionManager

from .tables import BAD, GOOD

if TYPE_CHECKING:
    from rich.console import Console


async def install(conninfo: str, timeout: float, console: Console) -> bool:
    """Return whether the table is there now; raise `ConfigError` if the conninfo can't be used."""
    logging.getLogger("pgmoor").addHandler(logging.NullHandler())
    logging.getLogger("psycopg").addHandler(logging.NullHandler())
    manager = ConnectionManager(
        conninfo, target="read-write", min_size=1, timeout=timeout, name="pgmoor install"
    )
    async with manager:
        try:
            await manager.install()
        except psycopg.Error as error:
            console.print(Text(f"not installed: {str(error).splitlines()[0]}", style=BAD))
            return False
    console.print(Text("installed: pgmoor.transactions", style=GOOD))
    return True
