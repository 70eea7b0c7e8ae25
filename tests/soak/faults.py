"""What each fault does, and what undoes it. Undoing a fault twice is harmless."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import AsyncExitStack, suppress
from typing import TYPE_CHECKING, Any

import psycopg

from pgmoor.testing import ClusterError, NodeState
from soak.schedule import NETWORK, POOLER, SERVER, Fault, Kind, Where
from soak.sessions import MANAGERS, SessionFaults, nothing

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from pgmoor.testing import FaultProxy, Node
    from soak.journal import Journal
    from soak.orchestrator import Orchestrator
    from soak.poolers import Poolers
    from soak.tolerance import Tolerance
    from soak.watch import Watch

BACKENDS = f"select pid from pg_stat_activity where {MANAGERS} limit 1"


class FaultInjector:
    """Brings faults about on three servers and on the network before them."""

    def __init__(
        self,
        orchestrator: Orchestrator,
        doors: dict[Node, FaultProxy],
        poolers: Poolers,
        *,
        watch: Watch,
        tolerance: Tolerance,
        journal: Journal,
    ) -> None:
        self.orchestrator = orchestrator
        self.doors = doors
        self.poolers = poolers
        self.watch = watch
        self.journal = journal
        self.sessions = SessionFaults(orchestrator, watch, tolerance, journal)

    async def apply(self, fault: Fault) -> Callable[[], Awaitable[Any]]:
        """Bring a fault about, if it is possible now; return what undoes it."""
        node = self.orchestrator.primary
        if fault.where is Where.STANDBY:
            node = self.orchestrator.standbys()[fault.amount < 0.5]
        self.journal.note(f"fault: {fault.kind.value} on {node.name} ({fault.where.value})")
        self.journal.faults[fault.kind.value] += 1
        try:
            if fault.kind in NETWORK:
                return await self.network(self.doors[node], fault.kind, fault.amount)
            if fault.kind in POOLER:
                return await self.poolers.apply(node, fault.kind)
            if fault.kind in SERVER:
                async with self.orchestrator.lock:
                    return await self.server(node, fault.kind)
            return await self.sessions.apply(node, fault.kind, fault.amount)
        except (ClusterError, psycopg.Error, ProcessLookupError, KeyError) as error:
            # The server is down or frozen by another fault, or the backend has just ended, or there
            # are no poolers.
            self.journal.note(f"not possible now: {type(error).__name__}: {error}")
            return nothing

    # -- the network ---------------------------------------------------------------------------

    async def network(
        self, door: FaultProxy, kind: Kind, amount: float
    ) -> Callable[[], Awaitable[Any]]:
        """Bring a network fault about; undoing one ends all faults of that proxy."""
        if kind is Kind.FLAP:
            flapping = asyncio.create_task(self._flap(door), name="soak-flap")
            return lambda: self._end_flapping(flapping, door)
        if kind is Kind.FORGET:
            stack = AsyncExitStack()
            # TCP's own limits don't see through a proxy; a statement ends when it is healed.
            stack.enter_context(self.watch.excused("forgotten connections"))
            door.silent(new=False)
            stack.push_async_callback(self.heal, door)
            return stack.aclose
        acts: dict[Kind, Callable[[], None]] = {
            Kind.SILENT: door.silent,
            Kind.BLACKHOLE: door.blackhole,
            Kind.PARTITION: lambda: _part(door),
            Kind.REFUSE: door.refuse,
            Kind.DEAF: door.deaf,
            Kind.DELAY: lambda: door.delay(0.02 + amount * 0.6),
            Kind.SLOW: lambda: door.delay(0.02 + amount * 0.13),
            Kind.CUT: lambda: door.cut(1 + int(amount * 400), new=amount > 0.7),
            Kind.RESET: door.reset,
        }
        await asyncio.to_thread(acts[kind])
        return nothing if kind is Kind.RESET else lambda: self.heal(door)

    async def heal(self, door: FaultProxy) -> None:
        """End all faults of the network before a server."""
        await asyncio.to_thread(door.heal)

    async def _flap(self, door: FaultProxy) -> None:
        while True:
            await asyncio.to_thread(_part, door)
            await asyncio.sleep(0.25)
            await self.heal(door)
            await asyncio.sleep(0.25)

    async def _end_flapping(self, flapping: asyncio.Task[None], door: FaultProxy) -> None:
        flapping.cancel()
        with suppress(asyncio.CancelledError):
            await flapping
        await self.heal(door)

    # -- servers -------------------------------------------------------------------------------

    async def server(self, node: Node, kind: Kind) -> Callable[[], Awaitable[Any]]:
        """Bring a fault of a server about; the caller holds the orchestrator's lock."""
        if kind is Kind.FREEZE:
            await node.freeze()
            return lambda: self._locked(node.thaw)
        if kind is Kind.READ_ONLY:
            await node.demote()
            return lambda: self._locked(lambda: _undemote(node))
        if kind is Kind.CRASH:
            for (pid,) in await node.sql(BACKENDS):
                os.kill(pid, signal.SIGKILL)
            return nothing
        await (node.kill() if kind is Kind.KILL else node.stop("fast"))
        return lambda: self._locked(lambda: self.orchestrator.bring_back(node))

    async def _locked(self, work: Callable[[], Awaitable[None]]) -> None:
        async with self.orchestrator.lock:
            await work()


def _part(door: FaultProxy) -> None:
    door.refuse()
    door.reset()


async def _undemote(node: Node) -> None:
    if node.state is NodeState.RUNNING:
        await node.undemote()
