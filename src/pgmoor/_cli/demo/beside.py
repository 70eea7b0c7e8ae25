"""The other library of `pgmoor demo --beside`: opens it, and again if it does not recover."""

from __future__ import annotations

import contextlib
import importlib.util
from itertools import count
from typing import TYPE_CHECKING

from pgmoor import ConfigError
from pgmoor._cli.peers import PEERS, bounded

from .lane import Lane
from .ledger import Ledger
from .stores import ThroughOther
from .writers import Writers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from pgmoor._cli.peers import Address

TABLE = "pgmoor_demo_beside"
OPEN_TIMEOUT = 10.0  # seconds
CLOSE_TIMEOUT = 3.0  # seconds; some libraries never close while a server is frozen


def make_lane(library: str, writers: int, patience: float) -> Lane:
    """Return the lane of a library; raise `ConfigError` if it is unknown or not installed."""
    if library not in PEERS:
        raise ConfigError("--beside", "unknown library", f"pass one of {', '.join(PEERS)}")
    for module, package in PEERS[library].needs.items():
        if importlib.util.find_spec(module) is None:
            remedy = f'install it with: pip install "{package}"'
            raise ConfigError("--beside", f"{module} is missing", remedy)
    return Lane(library, Ledger(writers, TABLE), patience)


class Beside:
    """The library and its writers. Both are left behind if they don't end when they are told to."""

    def __init__(
        self, lane: Lane, servers: Sequence[Address], writers: int, sizes: tuple[int, int]
    ) -> None:
        self._lane = lane
        self._servers = servers
        self._sizes = sizes
        self._sequences = [count(1) for _ in range(writers)]
        self._stack = contextlib.AsyncExitStack()
        lane.restart = self.restart

    async def open(self) -> None:
        """Open the library, and start its writers; they fail if it can't be opened."""
        least, most = self._sizes
        library = PEERS[self._lane.name](self._servers, min_size=least, max_size=most)
        failure = await bounded(library.open(), OPEN_TIMEOUT)
        if failure is not None:
            raise failure
        self._stack.push_async_callback(lambda: bounded(library.close(), CLOSE_TIMEOUT))
        store = ThroughOther(library, self._lane.ledger.table)
        number = len(self._sequences)
        self._writers = Writers(store, self._lane.ledger, number, self._sequences)
        await self._stack.enter_async_context(self._writers)

    async def restart(self) -> None:
        """Do what an operator does in the end."""
        await self.close()
        await self.open()

    async def finish(self) -> None:
        """Let its writers finish."""
        await self._writers.finish()

    async def close(self) -> None:
        """Stop the writers and close the library."""
        stack, self._stack = self._stack, contextlib.AsyncExitStack()
        await stack.aclose()


@contextlib.asynccontextmanager
async def opened(
    lane: Lane | None, servers: Sequence[Address], writers: int, sizes: tuple[int, int]
) -> AsyncIterator[Beside | None]:
    """Run the other library in the block, if there is one."""
    if lane is None:
        yield None
        return
    beside = Beside(lane, servers, writers, sizes)
    try:
        await beside.open()
        yield beside
    finally:
        await beside.close()
