"""A PgBouncer before each server, where it is installed, and what can happen to one."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import signal
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Self

import psycopg

from services.pgbouncer import PgBouncer
from soak.schedule import Kind

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from pgmoor.testing import Node

PROGRAM = shutil.which("pgbouncer", path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin"]))
SETTINGS = {
    "admin_users": "admin",
    "query_wait_timeout": "2",
    "server_connect_timeout": "2",
}
PATIENCE = 2.0  # seconds; a pause waits for transactions to end


class Poolers:
    """The poolers of one run; none where PgBouncer is not installed."""

    def __init__(self, seed: int, nodes: Sequence[Node]) -> None:
        rng = random.Random(f"{seed}-poolers")
        mode = rng.choice(["session", "transaction"])
        # In session mode 2 are too few for two connections and a probe.
        settings = {**SETTINGS, "default_pool_size": rng.choice(["2", "4"])}
        self.fronts: dict[Node, PgBouncer] = {}
        if PROGRAM is not None:
            self.fronts = {node: PgBouncer(PROGRAM, node, mode, settings) for node in nodes}
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        for front in self.fronts.values():
            self._stack.enter_context(front)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    async def apply(self, node: Node, kind: Kind) -> Callable[[], Awaitable[Any]]:
        """Bring a fault of a server's pooler about; return what undoes it."""
        front = self.fronts[node]
        if kind is Kind.POOLER_FROZEN:
            front.signal(signal.SIGSTOP)
            return lambda: asyncio.to_thread(front.signal, signal.SIGCONT)
        if kind is Kind.POOLER_PAUSED:
            await _order(front, "pause")
            return lambda: _order(front, "resume")
        front.stop()
        return lambda: asyncio.to_thread(front.start)


async def _order(front: PgBouncer, command: str) -> None:
    """Give a command on the pooler's console; a pause that takes long begins later by itself."""
    conn = await psycopg.AsyncConnection.connect(
        f"host={front.host} port={front.port} user=admin dbname=pgbouncer",
        autocommit=True,
        connect_timeout=5,
    )
    try:
        async with asyncio.timeout(PATIENCE):
            await conn.execute(command)
    except (TimeoutError, psycopg.Error):
        pass  # it is being paused, or was not
    finally:
        await conn.close()
