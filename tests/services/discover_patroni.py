"""A host list from Patroni's REST API, as docs/hosts.md shows it."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


# --8<-- [start:hosts]
def ask(apis: Sequence[str]) -> list[str]:
    """Return the members' addresses, as the first node of Patroni that answers names them."""
    for api in apis:
        try:
            with urllib.request.urlopen(f"{api}/cluster", timeout=1) as answer:
                members = json.load(answer)["members"]
        except OSError:
            continue
        return sorted(f"{member['host']}:{member['port']}" for member in members)
    raise OSError("no node of Patroni answers")


async def hosts_of(apis: Sequence[str]) -> list[str]:
    """Ask in a thread: urllib would hold up the event loop."""
    return await asyncio.to_thread(ask, apis)


# --8<-- [end:hosts]
