"""The pools of hosts that were left, while connections of theirs are still held."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .health import Status
from .policy import Reason

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .hosts import HostTable
    from .pool import HostPool


class LeftPools:
    """Remembers left pools until the last connection has come back."""

    def __init__(self) -> None:
        self._pools: set[HostPool] = set()

    def __iter__(self) -> Iterator[HostPool]:
        return iter(tuple(self._pools))

    def add(self, pool: HostPool, why: str, *, abort: bool) -> None:
        """Leave a pool; with *abort*, cut the connections that are held."""
        self._pools.add(pool)
        pool.leave(why, abort=abort)

    def cut(self, table: HostTable, *, serving: bool) -> None:
        """Cut what is still held on a host that has since turned out stale or dead."""
        for pool in self:
            state = table[pool.host.index]
            if not pool.connections and not pool.busy:
                self._pools.discard(pool)
            elif table.is_stale(state):
                pool.leave(Reason.STALE.value, abort=True)
            elif serving and state.status in (Status.SILENT, Status.DOWN):
                pool.leave("the host was left, and does not answer", abort=True)
