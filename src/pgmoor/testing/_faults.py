"""The faults that `under_faults` brings about, and how servers are put together again afterwards.

Leaves to `survival.py` what the program under test makes of them.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ._binaries import ClusterError
from ._emptying import SESSIONS
from ._server import NodeState

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from ._cluster import Cluster
    from ._node import Node
    from ._proxy import FaultProxy

SHORTLY = 1.0  # seconds: how long what ends by itself lasts
NEWEST = "select pg_last_wal_receive_lsn() - '0/0'::pg_lsn"


class Stage:
    """A cluster, the proxies before its servers if there are any, and who is primary."""

    def __init__(self, cluster: Cluster, proxies: Sequence[FaultProxy]) -> None:
        if proxies and len(proxies) != len(cluster):
            raise ValueError("proxies: one for each server of the cluster, in its order")
        self.cluster = cluster
        self.proxies = tuple(proxies)
        self.primary = cluster[0]

    @property
    def door(self) -> FaultProxy:
        """The proxy before the primary."""
        return self.proxies[self.cluster.nodes.index(self.primary)]

    async def find_primary(self) -> None:
        """Note who is primary."""
        for node in self.cluster.nodes:
            if node.state is NodeState.RUNNING and await _is_primary(node):
                self.primary = node
                return
        raise ClusterError("none of the servers is a primary")

    async def promote(self) -> None:
        """Promote the standby that has received most; the others follow it."""
        standbys = [node for node in self.cluster.nodes if node is not self.primary]
        received = [(await node.sql(NEWEST))[0][0] for node in standbys]
        self.primary = standbys[received.index(max(received))]
        await self.primary.promote()
        if len(standbys) == 1:
            # There is nobody left for whom a synchronous primary could wait.
            await self.primary.sql("alter system set synchronous_standby_names = ''")
            await self.primary.sql("select pg_reload_conf()")
        for node in standbys:
            if node is not self.primary:
                await node.follow(self.primary)

    async def repair(self) -> None:
        """Make every other server a standby that streams from the primary; heal the proxies."""
        for proxy in self.proxies:
            proxy.heal()
        if self.primary.state is not NodeState.RUNNING:
            await self.primary.start()
        for node in self.cluster.nodes:
            if node is self.primary:
                continue
            if node.state is not NodeState.RUNNING or await _is_primary(node):
                await node.rejoin(self.primary)
        await self.cluster.wait_streaming()
        await self.primary.sql("alter system reset synchronous_standby_names")
        await self.primary.sql("select pg_reload_conf()")


async def _is_primary(node: Node) -> bool:
    return (await node.sql("select pg_is_in_recovery()")) == [(False,)]


@dataclass(frozen=True)
class Fault:
    """Something that happens to the servers; `strike` returns when it is over or has taken effect.

    Make your own from any coroutine function that takes a `Stage`.
    """

    name: str
    strike: Callable[[Stage], Awaitable[None]]
    standby: bool = False  # it needs one
    proxy: bool = False  # it needs one before each server

    def possible(self, stage: Stage) -> bool:
        """Return whether these servers and proxies are enough for it."""
        return (len(stage.cluster) > 1 or not self.standby) and bool(
            stage.proxies or not self.proxy
        )


async def _crash(stage: Stage) -> None:
    await stage.primary.kill()
    await stage.promote()


async def _freeze(stage: Stage) -> None:
    await stage.primary.freeze()
    await stage.promote()


async def _demote(stage: Stage) -> None:
    await stage.primary.demote()
    await stage.promote()


async def _switch(stage: Stage) -> None:
    await stage.primary.stop("fast")
    await stage.promote()


async def _restart(stage: Stage) -> None:
    await stage.primary.stop("fast")
    await stage.primary.start()


async def _outage(stage: Stage) -> None:
    await stage.primary.kill()
    await asyncio.sleep(SHORTLY)
    await stage.primary.start()


async def _end_sessions(stage: Stage) -> None:
    await stage.primary.sql(SESSIONS)


async def _silence(stage: Stage) -> None:
    stage.door.silent()
    await stage.promote()


async def _pause(stage: Stage) -> None:
    door = stage.door
    door.silent()
    await asyncio.sleep(SHORTLY)
    door.heal()


async def _reset(stage: Stage) -> None:
    stage.door.reset()


CRASH = Fault("the primary is killed, a standby promoted", _crash, standby=True)
FREEZE = Fault("the primary is frozen, a standby promoted", _freeze, standby=True)
DEMOTION = Fault("the primary turns read-only, a standby is promoted", _demote, standby=True)
SWITCHOVER = Fault("the primary is shut down, a standby promoted", _switch, standby=True)
SILENCE = Fault("the primary is cut off, a standby promoted", _silence, standby=True, proxy=True)
RESTART = Fault("the primary is restarted", _restart)
OUTAGE = Fault(f"the primary is killed and back after {SHORTLY:g} s", _outage)
SESSIONS_ENDED = Fault("every session is terminated", _end_sessions)
RESET = Fault("every connection is reset", _reset, proxy=True)
PAUSE = Fault(f"the network is silent for {SHORTLY:g} s", _pause, proxy=True)

FAULTS = (
    *(CRASH, FREEZE, DEMOTION, SWITCHOVER, SILENCE),
    *(RESTART, OUTAGE, SESSIONS_ENDED, RESET, PAUSE),
)
