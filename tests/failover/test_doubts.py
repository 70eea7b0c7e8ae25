"""What doubts about a host cost its server, and how fast trouble is found among false ones."""

from __future__ import annotations

import asyncio
from collections import Counter
from time import monotonic
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from pgmoor import NoHostAvailable, PoolExhausted
from pgmoor.events import Failover
from pgmoor.instruments import Instrument
from support import recorder, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgmoor import ConnectionManager
    from pgmoor.testing import Cluster

INTERVAL = 1.0  # `health_interval`
TIMEOUTS = 200


class Probes(Instrument):
    """Counts the probes of each host."""

    def __init__(self) -> None:
        self.of: Counter[str] = Counter()

    def probed(self, host: str, seconds: float, failure: str | None) -> None:
        self.of[host] += 1


async def time_out(manager: ConnectionManager) -> None:
    with pytest.raises((PoolExhausted, NoHostAvailable)):
        await manager.getconn(timeout=0.025)


@pytest.mark.thorough
async def test_time_outs_of_an_exhausted_pool_make_no_load_of_probes(
    pair: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(*pair, min_size=1, max_size=1, health_interval=INTERVAL)
    conn = await manager.getconn()
    probes = Probes()
    manager.instrument(probes)
    began = monotonic()
    for _ in range(TIMEOUTS):  # one after the other, 40 a second
        await time_out(manager)
    seconds = monotonic() - began
    in_use, other = (probes.of[f"{node.host}:{node.port}"] for node in pair)
    await manager.putconn(conn)

    assert seconds >= TIMEOUTS * 0.025
    idle = seconds / (0.8 * INTERVAL) + 2
    assert 1 <= in_use <= 3 * seconds, (probes.of, seconds)
    assert 1 <= other <= idle, (probes.of, seconds)


async def test_a_crash_among_time_outs_that_meant_nothing_is_found_at_once(
    pair: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(*pair, min_size=1, max_size=1, health_interval=30)
    conn = await manager.getconn()
    for _ in range(40):
        await time_out(manager)
    await pair[1].promote()
    statement = asyncio.create_task(conn.execute("select pg_sleep(60)"))
    await pair[0].wait_for(
        "select count(*) = 1 from pg_stat_activity where query ~ 'pg_sleep'"
        " and pid <> pg_backend_pid()"
    )
    began = monotonic()
    await pair[0].kill()
    await recorder(manager).wait_for(Failover)
    found = monotonic() - began
    with pytest.raises(psycopg.OperationalError):
        await statement
    await manager.putconn(conn)

    assert found < 1.0, found


async def test_time_outs_alone_reveal_a_server_that_fell_silent(
    pair: Cluster, moor: Callable[..., Any], proxies: Callable[..., Any]
) -> None:
    doors = proxies(pair)
    manager = await moor(*doors, min_size=1, max_size=1, health_interval=30, health_timeout=0.3)
    conn = await manager.getconn()
    await manager.health(fresh=True)
    doors[0].silent()
    await pair[1].promote()
    began = monotonic()
    await time_out(manager)
    await recorder(manager).wait_for(Failover)
    found = monotonic() - began
    await manager.putconn(conn)

    assert found < 1.0, found
    await until(lambda: manager.snapshot().ready)
