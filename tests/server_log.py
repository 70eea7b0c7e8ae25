"""What a server's own log and tables say of the statements that reached it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pgmoor.testing import Node

# A probe's question begins with a new line and a ping is empty: both have nothing on their line.
STATEMENT = re.compile(rb"app=pgmoor LOG:  (?:statement|execute [^:]*): (.+)")
PARAMETER = re.compile(rb"app=pgmoor DETAIL:  [Pp]arameters: \$1 = '([^']*)'")


class ServerLog:
    """A server's log from now on; the server has to log every statement."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._from = node.log_file.stat().st_size

    def _read(self) -> bytes:
        with self._node.log_file.open("rb") as log:
            log.seek(self._from)
            return log.read()

    def statements(self) -> list[str]:
        """Return what callers sent: every statement that is not the manager's own question."""
        return [text.decode() for text in STATEMENT.findall(self._read())]

    async def keys(self) -> set[str]:
        """Return the keys that reached the server in an INSERT since then, or stand there."""
        rows = {key for (key,) in await self._node.sql("select id from work")}
        return rows | {key.decode() for key in PARAMETER.findall(self._read())}

    async def sent_since(self, since: float, sent: Mapping[str, float]) -> list[str]:
        """Return the keys of those that reached it and were sent after *since* (monotonic)."""
        return sorted(key for key in await self.keys() if sent[key] > since)
