"""`Stage`: the steps of an orchestrator, on real servers."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import psycopg
import pytest

from pgmoor.testing import Cluster, ClusterError, Stage

if TYPE_CHECKING:
    from pgmoor.testing import Node


# Whether finish_writes() has looked for open transactions.
ASKED = (
    "select exists (select from pg_stat_activity"
    " where query like '%backend_xid IS NOT NULL%' and pid <> pg_backend_pid())"
)


async def stop_streaming(node: Node) -> None:
    await node.sql("alter system set primary_conninfo = ''")
    await node.sql("select pg_reload_conf()")
    await node.wait_for("select not exists (select from pg_stat_wal_receiver)")


async def test_promote_chooses_the_standby_with_most_wal_and_the_others_follow() -> None:
    async with Cluster(standbys=2, synchronous=True) as cluster:
        stage = Stage(cluster)
        await stop_streaming(cluster[1])
        await cluster[0].sql("create table acknowledged ()")
        await cluster[0].kill()

        await stage.promote()

        assert stage.primary is cluster[2]
        assert stage.standbys == [cluster[1]]
        await stage.wait_writable()
        await cluster[2].sql("create table written ()")  # waits for a standby
        await cluster[1].wait_for("select to_regclass('acknowledged') is not null")

        await stage.repair()

        assert stage.standbys == [cluster[0], cluster[1]]
        await cluster[0].wait_for("select to_regclass('written') is not null")


async def test_finish_writes_waits_for_a_transaction_begun_before_the_demotion(
    pair: Cluster,
) -> None:
    stage = Stage(pair)
    async with await psycopg.AsyncConnection.connect(pair[0].conninfo()) as conn:
        await conn.execute("insert into work values ('open')")
        await pair[0].demote()
        finishing = asyncio.create_task(stage.finish_writes())
        await pair[0].wait_for(ASKED)
        assert not finishing.done()

        await conn.commit()
        await finishing

    assert await pair[1].sql("select id from work") == [("open",)]


async def test_promote_needs_a_running_standby(alone: Cluster) -> None:
    with pytest.raises(ClusterError, match="no standby is running"):
        await Stage(alone).promote()
