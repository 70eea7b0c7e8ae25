"""What an orchestrator does to a cluster: promote a standby, end sessions, bring servers back.

The faults themselves are in `_faults.py`.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from ._binaries import ClusterError
from ._member import END_SESSIONS, OTHER_SESSIONS, RECEIVED
from ._node import is_primary
from ._server import NodeState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ._cluster import Cluster
    from ._node import Node
    from ._proxy import FaultProxy

STREAMS = "SELECT EXISTS (SELECT FROM pg_stat_replication WHERE state = 'streaming')"


class Stage:
    """A cluster, the proxies in front of its servers if there are any, and its current primary."""

    def __init__(self, cluster: Cluster, proxies: Sequence[FaultProxy] = ()) -> None:
        if proxies and len(proxies) != len(cluster):
            raise ValueError("proxies: pass one for each server of the cluster, in its order")
        self.cluster = cluster
        self.proxies: tuple[FaultProxy, ...] = tuple(proxies)
        self.primary: Node = cluster[0]

    @property
    def proxy(self) -> FaultProxy:
        """The proxy in front of the primary; raises `ValueError` if there are no proxies."""
        if not self.proxies:
            raise ValueError("proxies: this fault needs one in front of each server")
        return self.proxies[self.cluster.nodes.index(self.primary)]

    @property
    def standbys(self) -> list[Node]:
        """The running servers other than the primary."""
        return [
            node
            for node in self.cluster
            if node is not self.primary and node.state is NodeState.RUNNING
        ]

    async def find_primary(self) -> None:
        """Set `primary` to the running server that is not in recovery."""
        for node in self.cluster:
            if node.state is NodeState.RUNNING and await is_primary(node):
                self.primary = node
                return
        raise ClusterError("none of the servers is a primary")

    async def most_advanced(self) -> Node:
        """Return the standby with the most WAL: others may lack acknowledged commits."""
        standbys = self.standbys
        if not standbys:
            raise ClusterError("no standby is running")
        query = f"SELECT {RECEIVED} - '0/0'::pg_lsn"
        answers = await asyncio.gather(*(node.sql(query) for node in standbys))
        received = [position for ((position,),) in answers]
        return standbys[received.index(max(received))]

    async def promote(self, node: Node | None = None) -> None:
        """Promote a standby, by default the most advanced one; the others follow it."""
        new = node or await self.most_advanced()
        if self.standbys == [new]:
            # No standby is left that a synchronous primary could wait for.
            await _set_synchronous(new, "SET synchronous_standby_names = ''")
        else:
            # They follow before the promotion, so that a synchronous commit finds a standby.
            await self.cluster.follow(new)
        await new.promote()
        self.primary = new

    async def end_sessions(self) -> int:
        """Terminate every client's session on the primary; return how many there were."""
        return len(await self.primary.sql(END_SESSIONS))

    async def finish_writes(self) -> None:
        """Wait until a demoted primary's open transactions end and every standby has their WAL."""
        old = self.primary
        ((now,),) = await old.sql("SELECT clock_timestamp()::text")
        await old.wait_for(
            f"SELECT NOT EXISTS (SELECT FROM {OTHER_SESSIONS}"
            f" AND (backend_xid IS NOT NULL OR xact_start < '{now}'))"
        )
        ((written,),) = await old.sql("SELECT pg_current_wal_lsn()::text")
        received = f"SELECT {RECEIVED} >= '{written}'"
        await asyncio.gather(*(node.wait_for(received) for node in self.standbys))

    async def wait_writable(self) -> None:
        """Wait until a standby streams from the primary: until then synchronous commits wait."""
        await self.primary.wait_for(STREAMS)

    async def repair(self) -> None:
        """Make every other server a standby that streams from the primary; heal the proxies."""
        for proxy in self.proxies:
            proxy.heal()
        if self.primary.state is not NodeState.RUNNING:
            await self.primary.start()
        for node in self.cluster:
            if node is self.primary:
                continue
            if node.state is not NodeState.RUNNING or await is_primary(node):
                await node.rejoin(self.primary)
        await self.cluster.wait_streaming()
        await _set_synchronous(self.primary, "RESET synchronous_standby_names")


async def _set_synchronous(node: Node, change: str) -> None:
    await node.sql(f"ALTER SYSTEM {change}")
    await node.sql("SELECT pg_reload_conf()")
