"""Does what an orchestrator does: promotes the most advanced standby, and repairs the others.

It compares two of three servers before a promotion, because each acknowledged commit is on two.
"""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING

import psycopg

from pgmoor.testing import ClusterError, NodeState
from pgmoor.testing._member import RECEIVED
from soak.deaths import Deaths, died_by_itself

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from pgmoor.testing import Cluster, Node
    from soak.journal import Journal
    from soak.promotions import Promotions
    from soak.watch import Watch

POSITION = f"select {RECEIVED} - '0/0'::pg_lsn"
STREAMS = "select coalesce(bool_or(state = 'streaming'), false) from pg_stat_replication"
TIMELINE = "select ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int"


class NobodyLeft(Exception):  # noqa: N818  not an error of the soak itself
    """The server died that alone was sure to have all that the primary acknowledged."""


class Orchestrator:
    """Three servers, of which one is the primary."""

    def __init__(
        self, cluster: Cluster, promotions: Promotions, watch: Watch, journal: Journal
    ) -> None:
        self.cluster = cluster
        self.promotions = promotions
        self.primary = cluster[0]
        self.lock = asyncio.Lock()  # held while the servers are changed
        self._watch = watch
        self._journal = journal
        self._deaths = Deaths(journal)

    def standbys(self) -> list[Node]:
        """Return all but the primary."""
        return [node for node in self.cluster.nodes if node is not self.primary]

    # -- promotion -----------------------------------------------------------------------------

    async def promote(
        self,
        candidates: Sequence[Node],
        *,
        meanwhile: Callable[[Node], Awaitable[None]] | None = None,
    ) -> Node:
        """Promote the most advanced of *candidates*, and make the others follow it.

        One that dies is replaced. Raise `NobodyLeft` if no other can take its place.
        """
        with self._watch.excused("no standby confirms"):
            for node in candidates:
                await self.bring_back(node)
            dead = [node for node in candidates if self._deaths.found(node)]
            alive = self._without(dead, candidates) if dead else candidates
            for node in alive:
                await detach(node)
            best, began = await self._promote_best(alive)
            self.primary = best
            ((timeline,),) = await best.sql(TIMELINE)
            self.promotions.add(began, timeline)
            self._journal.note(f"{best.name} is primary on timeline {timeline}")
            self._journal.counts["promotions"] += 1
            if meanwhile is not None:
                await meanwhile(best)
            for node in candidates:
                if node is not best:
                    await self.attach(node)
        return best

    async def _promote_best(self, candidates: Sequence[Node]) -> tuple[Node, float]:
        """Promote the most advanced server that survives it; return it, and when that began."""
        while True:
            positions = {node: await _position(node) for node in candidates}
            best = max(candidates, key=lambda node: positions[node])
            held = ", ".join(f"{node.name} {positions[node]:X}" for node in candidates)
            self._journal.note(f"promoting {best.name}; held: {held}")
            began = monotonic()
            try:
                await best.promote()
            except ClusterError:
                if not self._deaths.found(best):
                    raise
                candidates = self._without([best], candidates)
            else:
                return best, began

    def _without(self, dead: Sequence[Node], candidates: Sequence[Node]) -> Sequence[Node]:
        """Return the candidates that are left; the last primary has all that it acknowledged."""
        left = [node for node in candidates if node not in dead]
        if self.primary not in left:
            raise NobodyLeft(", ".join(node.name for node in dead))
        return left

    async def attach(self, node: Node) -> None:
        """Make a server stream from the primary, whatever its state and timeline."""
        if self._deaths.found(node):  # made again, from a base backup
            await asyncio.to_thread(node.member.server.wipe)
        try:
            if await is_in_recovery(node):
                await node.follow(self.primary, timeout=5)
                await self._catch_up(node)
                return
        except (ClusterError, psycopg.Error) as error:
            self._journal.note(f"{node.name} does not follow: {type(error).__name__}")
        await node.rejoin(self.primary)
        await self._catch_up(node)
        self._journal.counts["rejoins"] += 1

    async def _catch_up(self, node: Node) -> None:
        """Wait until a standby has the WAL that the primary has written by now.

        A standby panics when it is promoted without the beginning of its newest WAL segment.
        """
        ((position,),) = await self.primary.sql("select pg_current_wal_lsn()::text")
        await self.primary.wait_for(
            f"select coalesce(bool_or(flush_lsn >= '{position}'), false) from pg_stat_replication"
            f" where application_name = '{node.name}'"
        )

    # -- repair --------------------------------------------------------------------------------

    async def serve(self) -> None:
        """Make the primary run, and a standby confirm its commits."""
        with self._watch.excused("the servers are brought back"):
            await self.bring_back(self.primary)
            if self._deaths.found(self.primary):
                await self.promote(self.standbys())
            # A standby that has just been thawed or started connects by itself.
            try:
                await self.primary.wait_for(STREAMS, timeout=2)
            except ClusterError:
                await self.attach(self._easiest())

    async def restore(self, leave: Iterable[Node] = ()) -> None:
        """Make all standbys stream, except those in *leave*."""
        for node in self.standbys():
            if node not in leave and not await self._streams(node):
                self._journal.note(f"{node.name} joins {self.primary.name}")
                await self.attach(node)

    async def bring_back(self, node: Node) -> None:
        """Thaw or start a server, in the role it has; one that dies of it is left as it is."""
        self._deaths.found(node)
        try:
            await bring_up(node)
        except ClusterError:
            if not died_by_itself(node):
                raise

    def _easiest(self) -> Node:
        standbys = self.standbys()
        return next((n for n in standbys if n.state is NodeState.RUNNING), standbys[0])

    async def _streams(self, node: Node) -> bool:
        if not await is_in_recovery(node):
            return False
        with suppress(ClusterError):
            await self.primary.wait_for(
                f"{STREAMS} where application_name = '{node.name}'", timeout=1
            )
            return True
        return False


async def bring_up(node: Node) -> None:
    """Thaw or start a server, in the role it has."""
    await node.thaw()
    if node.state is not NodeState.RUNNING:
        await node.start()


async def relax(node: Node) -> None:
    """Let a primary commit without a standby, like an old primary that comes back.

    If the server is frozen or stopped, it takes effect when it runs again.
    """
    with (node.data_dir / "postgresql.auto.conf").open("a") as file:
        file.write("synchronous_standby_names = ''\n")
    if node.pid is not None:
        os.kill(node.pid, signal.SIGHUP)
    if node.state is NodeState.RUNNING:
        await node.wait_for("select current_setting('synchronous_standby_names') = ''")


async def is_in_recovery(node: Node) -> bool | None:
    """Return whether a server is in recovery; None if it isn't running."""
    if node.state is not NodeState.RUNNING:
        return None
    ((answer,),) = await node.sql("select pg_is_in_recovery()")
    return bool(answer)


async def detach(node: Node) -> None:
    """Stop a standby from streaming, so that it can't confirm commits of a running old primary."""
    await node.sql("alter system set primary_conninfo = ''")
    await node.sql("select pg_reload_conf()")
    await node.wait_for("select not exists (select from pg_stat_wal_receiver)")


async def _position(node: Node) -> int:
    """Return how far a standby's WAL goes, once that no longer changes."""
    newest = None
    while True:
        ((position,),) = await node.sql(POSITION)
        if position == newest:
            return int(position)
        newest = position
        await asyncio.sleep(0.1)
