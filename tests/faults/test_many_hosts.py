"""Several hosts: a first one that never answers, preferred hosts, and what the log says."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Any

import pytest

from pgmoor import ConnectionManager
from pgmoor.events import Failback, Failover
from support import Workload, recorder

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgmoor.testing import Cluster, FaultProxy


@pytest.mark.parametrize("fault", ["silent", "blackhole"])
async def test_a_first_host_that_never_answers_delays_only_the_first_checkout(
    fault: str, pair: Cluster, moor: Callable[..., Any], proxies: Callable[..., Any]
) -> None:
    doors = proxies(pair)
    await pair[0].kill()
    await pair[1].promote()
    getattr(doors[0], fault)()
    manager = await moor(*doors)
    began = monotonic()
    async with manager.connection():
        first = monotonic() - began
    began = monotonic()
    async with manager.connection():
        second = monotonic() - began

    assert first < 1.0, first  # 0.3 s wanted
    assert second < 0.1, second


async def test_a_preferred_host_that_is_back_is_used_again_after_failback_after(
    equals: list[FaultProxy], moor: Callable[..., Any]
) -> None:
    preferred, other = equals
    manager = await moor(preferred, other, failback_after=0.5, health_interval=0.1)
    async with Workload(manager) as work:
        preferred.refuse()
        preferred.reset()
        await recorder(manager).wait_for(Failover)
        await work.back(monotonic())
        failed = len(work.failed)

        preferred.heal()
        began = monotonic()
        await recorder(manager).wait_for(Failback)
        stable = monotonic() - began
        await work.flowing(monotonic())
        async with manager.connection() as conn:
            assert conn.info.port == preferred.port

    assert stable >= 0.4, stable
    assert len(work.failed) == failed, work.errors()  # connections move as they come back


async def test_with_manual_failback_a_preferred_host_is_used_again_only_on_request(
    equals: list[FaultProxy], moor: Callable[..., Any]
) -> None:
    preferred, other = equals
    manager = await moor(
        preferred, other, failback="manual", failback_after=0.0, health_interval=0.1
    )
    await manager.wait()
    preferred.refuse()
    preferred.reset()
    await recorder(manager).wait_for(Failover)
    preferred.heal()
    await manager.health(fresh=True)
    await manager.health(fresh=True)
    assert not recorder(manager).of(Failback)

    manager.failback()
    event = await recorder(manager).wait_for(Failback)

    assert event.after.endswith(str(preferred.port))


async def test_each_transition_is_one_log_line(
    pair: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="pgmoor")
    async with ConnectionManager(pair.conninfo(), min_size=1, max_size=4) as manager:
        await manager.wait()
        for _ in range(50):
            async with manager.connection() as conn:
                await conn.execute("select 1")
        await pair[0].kill()
        await pair[1].promote()
        async with manager.connection() as conn:
            await conn.execute("select 1")

    lines = [record.message for record in caplog.records if record.name.startswith("pgmoor")]
    assert len(lines) <= 10, lines
    assert sum("failed over from" in line for line in lines) == 1
    assert sum(f"{pair[0].port} is down: Connection refused" in line for line in lines) == 1
