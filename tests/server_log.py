"""What a server's own log and tables say of the statements that reached it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pgmoor.testing import Node

# The identity query begins with a new line and a ping is empty: neither matches.
STATEMENT = re.compile(rb"app=pgmoor LOG:  (?:statement|execute [^:]*): (.+)")
PARAMETER = re.compile(rb"app=pgmoor DETAIL:  [Pp]arameters: \$1 = '([^']*)'")


class ServerLog:
    """A server's log from now on. The server must log every statement."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._from = node.log_file.stat().st_size

    def _read(self) -> bytes:
        with self._node.log_file.open("rb") as log:
            log.seek(self._from)
            return log.read()

    def statements(self) -> list[str]:
        """Return the callers' statements, without the manager's own."""
        return [text.decode() for text in STATEMENT.findall(self._read())]

    async def keys(self) -> set[str]:
        """Return the keys that reached the server in an INSERT since then, or are stored."""
        rows = {key for (key,) in await self._node.sql("select id from work")}
        return rows | {key.decode() for key in PARAMETER.findall(self._read())}

    async def sent_since(self, since: float, sent: Mapping[str, float]) -> list[str]:
        """Return the keys that reached it and were sent after *since* (monotonic)."""
        return sorted(key for key in await self.keys() if sent[key] > since)
