"""Plays the episodes of a schedule one by one, and checks in between that all is well."""

from __future__ import annotations

import asyncio
from collections import Counter
from time import monotonic
from typing import TYPE_CHECKING, Any

from soak import audit
from soak.ledger import SELECT, strays
from soak.orchestrator import NobodyLeft, bring_up, is_in_recovery, relax
from soak.promotions import TURN
from soak.schedule import NETWORK, Episode, Fault, Kind, Second, Takeover

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from pgmoor.testing import Node
    from soak.faults import FaultInjector
    from soak.users import Users

LEARN = 5.0  # seconds that the manager has to learn of a new primary
# Seconds that a manager may take longer, once the fault is over: the time between two logins at a
# host that rejected one, between two dials at a full one, and the age of a probe's connection.
LONGER = {
    Kind.LOCKED_OUT: 5.0,
    Kind.REJECTED: 5.0,
    Kind.FULL: 0.5,
    Kind.ROLE_LIMIT: 0.5,
    Kind.ROLE_READ_ONLY: 1.0,
}
RETRIED = 11.0  # seconds; a rejected login is tried again after 5, a failed dial counts for 10
ALARMS = ("HostDown", "Failover", "OutageStarted", "SplitBrain", "ForeignHost", "ClusterRebuilt")
AUDIT_EVERY = 3  # episodes
STUCK = 30.0  # seconds after which the run ends without traffic


class Stuck(Exception):  # noqa: N818  not an error of the soak itself
    """Traffic does not flow again."""


class Play:
    """Plays episodes on one manager and three servers."""

    def __init__(self, injector: FaultInjector, users: Users, flow_limit: float) -> None:
        self._injector = injector
        self._users = users
        self._orchestrator = injector.orchestrator
        self._journal = injector.journal
        self._flow_limit = flow_limit
        self.played = 0  # episodes
        self._dead_sockets = audit.DeadSockets()

    async def run(self, episodes: Iterable[Episode], seconds: float) -> None:
        """Play until *seconds* are over."""
        end = monotonic() + seconds
        for episode in episodes:
            if monotonic() > end:
                break
            await self.play(episode)
            self.played += 1
            if self.played % AUDIT_EVERY == 0:
                await self.quiet_audit()

    async def play(self, episode: Episode) -> None:
        """Play one episode; all is well before and after it."""
        self._journal.note(f"episode {episode.number}: {episode}")
        alarms = self._alarms()
        async with asyncio.TaskGroup() as group:
            for fault in episode.faults:
                group.create_task(self._fault(fault))
            if episode.takeover:
                group.create_task(self._take_over(episode.takeover))
        for door in self._injector.doors.values():
            await self._injector.heal(door)
        await self._orchestrator.serve()
        await self._injector.sessions.undo_on_the_primary()
        longer = max((LONGER.get(fault.kind, 0.0) for fault in episode.faults), default=0.0)
        await self._flow(self._flow_limit + longer, str(episode))
        if longer:
            await self._retried()
        if episode.harmless and (false := self._alarms() - alarms):
            self._journal.violated("false alarm", f"{dict(false)} after {episode}")
        old = [n for n in self._orchestrator.standbys() if await is_in_recovery(n) is False]
        if old and episode.takeover:
            await asyncio.sleep(episode.takeover.dwell)
        await self._look_for_strays(old)
        await self._orchestrator.restore()
        await self._injector.sessions.undo_on_standbys()

    def _alarms(self) -> Counter[str]:
        """Return how many events there have been that say a host was lost."""
        return Counter({name: self._journal.counts[name] for name in ALARMS})

    async def quiet_audit(self) -> None:
        """Check connections while nobody uses the manager."""
        users = self._users
        if not await users.pause(users.bounds.timeout + 2 * users.bounds.commit):
            active = [f"{op.actor} at {op.step}" for op in users.watch.active]
            self._journal.violated("hung", ", ".join(active))
        await audit.connections(users.managers, self._injector.doors, self._journal)
        self._dead_sockets.look(self._journal)
        for manager, _ in users.managers:
            await audit.capacity(manager, self._journal)
        users.resume()

    async def _fault(self, fault: Fault) -> None:
        await asyncio.sleep(fault.at)
        undo = await self._injector.apply(fault)
        await asyncio.sleep(fault.lasts)
        await undo()

    # -- the primary is lost -------------------------------------------------------------------

    async def _take_over(self, takeover: Takeover) -> None:
        orchestrator = self._orchestrator
        old = orchestrator.primary
        self._journal.faults[f"takeover: {takeover.kind.value}"] += 1
        async with orchestrator.lock:
            bring_back = await self._lose(old, takeover)
            await asyncio.sleep(takeover.promote_after)
            try:
                if takeover.kind is Kind.ALL_STANDBY:
                    await orchestrator.promote(orchestrator.cluster.nodes)
                else:
                    await self._promote(orchestrator.standbys(), takeover.second)
            except NobodyLeft as error:
                self._journal.note(f"{orchestrator.primary.name} stays primary: {error} died")
                stays = orchestrator.primary is old
            else:
                stays = False
        if stays:
            await bring_back()
        if stays or not takeover.comes_back:
            return
        if await self._orchestrator.promotions.wait(LEARN):
            await asyncio.sleep(2 * TURN)  # a COMMIT that still waits there for a standby is cut
            await relax(old)
        self._journal.note(f"{old.name} is back, writable")
        self._journal.counts["old primaries back"] += 1
        await bring_back()

    async def _lose(self, old: Node, takeover: Takeover) -> Callable[[], Awaitable[Any]]:
        injector = self._injector
        self._journal.note(f"the primary {old.name} is lost: {takeover.kind.value}")
        if takeover.kind in NETWORK:
            return await injector.network(injector.doors[old], takeover.kind, 0.0)
        if takeover.kind is not Kind.ALL_STANDBY:
            return await injector.server(old, takeover.kind)
        await old.stop()
        other = self._orchestrator.standbys()[0]
        await asyncio.to_thread(old.member.write_primary_conninfo, other.member)
        await bring_up(old)
        return asyncio.Event().wait  # it never comes back as a primary

    async def _promote(self, candidates: list[Node], second: Second) -> None:
        orchestrator = self._orchestrator
        if second is Second.CRASHES:
            await orchestrator.promote(candidates, meanwhile=self._crash)
            return
        new = await orchestrator.promote(candidates)
        if second is Second.DIES:
            with self._users.watch.excused("the new primary dies"):
                self._journal.note(f"the new primary {new.name} dies")
                self._journal.faults["second: dies"] += 1
                await new.kill()
                await orchestrator.promote([node for node in candidates if node is not new])
                await orchestrator.attach(new)

    async def _crash(self, new: Node) -> None:
        self._journal.note(f"the new primary {new.name} crashes")
        self._journal.faults["second: crashes"] += 1
        await new.kill()
        await asyncio.sleep(0.1)
        await new.start()

    # -- afterwards ----------------------------------------------------------------------------

    async def _flow(self, limit: float, what: str) -> None:
        """Wait for traffic, and for the manager to know the new primary."""
        healed_at = monotonic()
        took = await self._users.flowing(healed_at, limit)
        if took is None:
            health = await self._users.manager.health()
            stats = self._users.manager.get_stats()
            self._journal.violated(
                "no traffic",
                f"not within {limit:.1f} s after everything was healed: {health} {stats}",
            )
            took = await self._users.flowing(healed_at, STUCK)
        if took is None:
            raise Stuck
        self._journal.note(f"traffic after {took:.2f} s")
        self._journal.flowed(took, what)
        if not await self._orchestrator.promotions.wait(LEARN):
            self._journal.violated("unknown primary", "the manager lacks the newest timeline")

    async def _retried(self) -> None:
        """Wait until no manager minds a refused login any more, else the next episode is blamed.

        One that has sessions notices at its next dial only that it may log in again.
        """
        deadline = monotonic() + RETRIED
        managers = [manager for manager, _ in self._users.managers]
        while monotonic() < deadline:
            if all(manager.snapshot().status == "pass" for manager in managers):
                return
            await asyncio.sleep(0.1)

    async def _look_for_strays(self, old: list[Node]) -> None:
        """Check that no old primary got a statement once the manager knew the new one."""
        since = self._orchestrator.promotions.since
        for node in old:
            assert since is not None
            held = [key for (key,) in await node.sql(SELECT)]
            rows = self._users.ledger.rows
            if found := strays(rows, held, since):
                known = [rows[key].describe(self._journal.began) for key in found[:10]]
                self._journal.violated("stale write", f"{node.name} got {len(found)}: {known}")
