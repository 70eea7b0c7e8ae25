"""The harness goes on when a server of its own dies by itself."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from pgmoor.testing import Cluster, ClusterError, NodeState
from soak.deaths import Deaths
from soak.journal import Journal
from soak.orchestrator import NobodyLeft, Orchestrator, detach
from soak.watch import Watch

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from pgmoor.testing import Node

DIED = "servers that died by themselves"
WAL = "select name from pg_ls_waldir() where name ~ '^[0-9A-F]{24}$'"


class Promoted:
    """Stands in for `Promotions`: takes what the orchestrator says and does nothing."""

    def add(self, began: float, timeline: int) -> None:
        pass


@asynccontextmanager
async def three() -> AsyncIterator[tuple[Orchestrator, Journal]]:
    """Three servers with a row on two of them at least."""
    journal = Journal()
    async with Cluster(standbys=2, synchronous=True) as cluster:
        promotions: Any = Promoted()
        orchestrator = Orchestrator(cluster, promotions, Watch(journal.violated), journal)
        await cluster[0].sql("create table work (id int)")
        await cluster[0].sql("insert into work values (1)")
        yield orchestrator, journal


async def doom(node: Node) -> None:
    """Make a standby panic in its promotion: it can't read its newest record again."""
    await detach(node)  # or it would be sent its WAL again
    for (name,) in await node.sql(WAL):
        file = node.data_dir / "pg_wal" / name
        file.write_bytes(bytes(file.stat().st_size))


@pytest.mark.thorough
async def test_a_standby_that_dies_in_its_promotion_is_replaced_and_the_primary_stays() -> None:
    async with three() as (orchestrator, journal):
        old, first, second = orchestrator.cluster.nodes
        await old.kill()
        await doom(first)
        with pytest.raises(NobodyLeft, match=first.name):  # it alone may have the newest row
            await orchestrator.promote([first, second])
        await orchestrator.bring_back(old)
        await orchestrator.restore()
        await old.sql("insert into work values (2)")

        assert journal.counts[DIED] == 1
        assert orchestrator.primary is old
        for node in orchestrator.cluster:
            assert node.state is NodeState.RUNNING
            await node.wait_for("select count(*) = 2 from work")


@pytest.mark.thorough
async def test_another_takes_its_place_where_the_last_primary_is_one_of_them() -> None:
    async with three() as (orchestrator, journal):
        old, first, second = orchestrator.cluster.nodes
        await old.stop()
        old.member.write_primary_conninfo(first.member)
        await orchestrator.bring_back(old)
        await doom(first)
        new = await orchestrator.promote([first, second, old])

        assert journal.counts[DIED] == 1
        assert new in (second, old)
        for node in orchestrator.cluster:
            await node.wait_for("select count(*) = 1 from work")


@pytest.mark.thorough
async def test_a_death_is_told_from_what_the_harness_does() -> None:
    journal = Journal()
    deaths = Deaths(journal)
    async with Cluster(standbys=0) as cluster:
        for end in (cluster[0].kill, cluster[0].stop):
            await end()
            assert not deaths.found(cluster[0])
            await cluster[0].start()
        await cluster[0].kill()
        (cluster[0].data_dir / "global" / "pg_control").unlink()
        with pytest.raises(ClusterError):
            await cluster[0].start()

        assert deaths.found(cluster[0])
        assert deaths.found(cluster[0])
        assert journal.counts[DIED] == 1
