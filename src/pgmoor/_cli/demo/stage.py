"""Knows the demo's servers and does what an orchestrator does: promote, follow, bring back.

It loses nothing by itself: it promotes the standby that has received most, and writes begun before
a demotion are let finish.
"""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING

from pgmoor.testing import NodeState

from .story import Voice

if TYPE_CHECKING:
    from pgmoor.testing import Cluster, Node

    from .story import Story

RECEIVED = "greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())"
# Until a standby streams, a synchronous commit waits.
COMMITS = "SELECT EXISTS (SELECT FROM pg_stat_replication WHERE state = 'streaming')"
OTHERS = "FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"


class Stage:
    """The servers, and which of them is the primary."""

    def __init__(self, cluster: Cluster, story: Story) -> None:
        self.cluster = cluster
        self.primary: Node = cluster[0]
        self._story = story

    def say(self, text: str) -> None:
        """Tell what is done to a server."""
        self._story.say(Voice.DEMO, text)

    @property
    def standbys(self) -> list[Node]:
        """The running servers but the primary."""
        return [
            node
            for node in self.cluster
            if node is not self.primary and node.state is NodeState.RUNNING
        ]

    async def kill_primary(self) -> None:
        """Crash it."""
        self.say(f"{self.primary.name}: SIGKILL to every process")
        await self.primary.kill()

    async def freeze_primary(self) -> None:
        """Stop it: its connections stay open, and nobody answers."""
        self.say(f"{self.primary.name}: SIGSTOP to every process")
        await self.primary.freeze()

    async def demote_primary(self) -> None:
        """Make it refuse writes, with its connections open."""
        self.say(f"{self.primary.name}: default_transaction_read_only = on")
        await self.primary.demote()

    async def kill_all(self) -> None:
        """Take everything away."""
        self.say("SIGKILL to every process of every server")
        await asyncio.gather(*(node.kill() for node in self.cluster))

    async def start_all(self) -> None:
        """Start them all as what they were."""
        self.say("all servers start")
        await asyncio.gather(*(node.start() for node in self.cluster))

    async def restart_primary(self) -> None:
        """Shut it down in good order, and start it again."""
        self.say(f"{self.primary.name}: restart")
        await self.primary.stop("fast")
        await self.primary.start()

    async def end_sessions(self) -> int:
        """Terminate every client's backend on the primary, and return how many there were."""
        rows = await self.primary.sql(f"SELECT pg_terminate_backend(pid) {OTHERS}")
        self.say(f"{self.primary.name}: pg_terminate_backend() for {len(rows)} sessions")
        return len(rows)

    async def let_writes_finish(self) -> None:
        """Return when no transaction of before a demotion is open, and the standbys have it all."""
        old = self.primary
        ((now,),) = await old.sql("SELECT clock_timestamp()::text")
        await old.wait_for(
            f"SELECT NOT EXISTS (SELECT {OTHERS}"
            f" AND (backend_xid IS NOT NULL OR xact_start < '{now}'))"
        )
        ((written,),) = await old.sql("SELECT pg_current_wal_lsn()::text")
        enough = f"SELECT {RECEIVED} >= '{written}'"
        await asyncio.gather(*(node.wait_for(enough) for node in self.standbys))

    async def promote(self) -> None:
        """Make the standby that has received most the primary; the others follow it."""
        new = await self._most_advanced()
        # They follow first, so that the new primary can commit from its first moment.
        await self.cluster.follow(new)
        self.say(f"{new.name}: promoted")
        await new.promote()
        self.primary = new

    async def wait_writable(self) -> float:
        """Return the instant at which the primary was seen able to commit."""
        await self.primary.wait_for(COMMITS)
        return monotonic()

    async def rejoin(self, node: Node) -> None:
        """Bring a former primary back as a standby."""
        await node.rejoin(self.primary)
        self.say(f"{node.name}: back as a standby of {self.primary.name}")

    async def _most_advanced(self) -> Node:
        """Return the standby with the most of the log: another may lack what was acknowledged."""
        nodes = self.standbys
        query = f"SELECT {RECEIVED} - '0/0'::pg_lsn"
        answers = await asyncio.gather(*(node.sql(query) for node in nodes))
        received = {node.name: answer[0][0] for node, answer in zip(nodes, answers, strict=True)}
        return max(nodes, key=lambda node: received[node.name])
