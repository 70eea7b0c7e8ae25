"""A second fault happens before the first one is over."""

from __future__ import annotations

import asyncio
import itertools
from time import monotonic
from typing import TYPE_CHECKING, Any

import psycopg

from pgmoor.events import DialFailed, Failover, HostDown, OutageStarted, SplitBrain
from pgmoor.instruments import Instrument
from server_log import ServerLog
from support import Workload, fail_over, only_aborted, recorder

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

    from pgmoor.testing import Cluster, FaultProxy

BRISK = {"health_interval": 0.1, "health_timeout": 0.3}


async def test_the_new_primary_dies_while_callers_move_to_it(
    trio: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(*trio)
    async with Workload(manager) as work:
        await trio[0].kill()
        await trio[1].promote()
        await recorder(manager).wait_for(Failover)
        await trio[1].kill()
        await trio[2].promote()
        writable = monotonic()
        back = await work.back(writable)

        # Its successor was promoted to the same timeline, without knowledge of it.
        log = ServerLog(trio[1])
        await trio[1].start()
        await recorder(manager).wait_for(SplitBrain)
        await manager.drain()
        await work.flowing(monotonic())

    assert back < 1.0, back
    assert len(work.failed) <= 2 * 8, work.errors()  # what was in flight, twice
    assert all(isinstance(item.error, psycopg.OperationalError) for item in work.failed)
    assert not log.statements()
    ports = [event.after.rpartition(":")[2] for event in recorder(manager).of(Failover)]
    assert ports == [str(trio[1].port), str(trio[2].port)]


async def test_the_new_primary_dies_between_the_choice_and_the_first_connection(
    trio: Cluster, moor: Callable[..., Any], proxies: Callable[..., Any]
) -> None:
    doors = proxies(trio)
    manager = await moor(*doors, **BRISK)
    await manager.wait()
    await trio[0].kill()
    doors[1].deaf()  # the probe's connection lives, and no new one can be made
    callers = [asyncio.create_task(manager.getconn(timeout=10)) for _ in range(8)]
    await trio[1].promote()
    await recorder(manager).wait_for(
        Failover, where=lambda event: event.after.endswith(str(doors[1].port))
    )
    await trio[1].kill()
    await trio[2].promote()
    writable = monotonic()
    conns = await asyncio.gather(*callers)
    taken = monotonic() - writable
    for conn in conns:
        assert conn.info.port == doors[2].port
        await conn.execute("insert into work (id) values ('x')")
        await conn.commit()
        await manager.putconn(conn)

    assert taken < 2.0, taken  # two answers missed, at 0.3 s each


class HealsWhenCut(Instrument):
    """Heals a network as soon as the first connection over it is cut."""

    def __init__(self, door: FaultProxy) -> None:
        self._door = door
        self.cut = 0

    def aborted(self, host: str) -> None:
        self.cut += 1
        if self.cut == 1:
            self._door.heal()


async def test_the_network_heals_in_the_middle_of_an_abort(
    trio: Cluster, moor: Callable[..., Any], proxies: Callable[..., Any]
) -> None:
    doors = proxies(trio)
    manager = await moor(*doors, **BRISK)
    healer = HealsWhenCut(doors[0])
    async with Workload(manager) as work:
        manager.instrument(healer)
        doors[0].silent()
        await trio[1].promote()
        await recorder(manager).wait_for(Failover)
        moved = monotonic()
        log = ServerLog(trio[0])
        back = await work.back(moved)
        await recorder(manager).wait_for(SplitBrain)
        await work.flowing(monotonic())

    assert healer.cut > 1
    assert back < 1.0, back
    only_aborted(work, f"127.0.0.1:{doors[0].port}")
    assert not await log.sent_since(moved, work.sent)
    assert len(recorder(manager).of(Failover)) == 1


async def test_a_standby_freezes_during_the_failover(
    trio: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(*trio)
    async with Workload(manager) as work:
        await trio[2].freeze()
        back = await fail_over(trio, work)

    assert back < 1.0, back  # `settle` for the frozen one, which might be newer
    assert len(work.failed) <= 8, work.errors()


async def test_the_old_primary_restarts_in_the_middle_of_the_failover(
    trio: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(trio[0], trio[1])
    async with Workload(manager) as work:
        log = ServerLog(trio[0])
        await trio[0].kill()
        began = monotonic()
        await asyncio.gather(trio[1].promote(), trio[0].start())
        await recorder(manager).wait_for(Failover)
        moved = monotonic()
        back = await work.back(began)

    assert back < 2.0, back
    assert not await log.sent_since(moved, work.sent)


class Broken:
    """A callback that raises and hangs in turns, while told to."""

    def __init__(self) -> None:
        self.active = False
        self._raises = itertools.cycle([True, False])

    async def __call__(self, conn: Any) -> None:
        if not self.active:
            return
        if next(self._raises):
            raise ValueError("not now")
        await asyncio.Event().wait()


async def test_configure_raises_and_hangs_during_the_failover(
    trio: Cluster, moor: Callable[..., Any]
) -> None:
    configure = Broken()
    manager = await moor(
        trio[0], trio[1], configure=configure, kwargs={"connect_timeout": 0.3}, backoff_cap=0.2
    )
    async with Workload(manager) as work:
        configure.active = True
        await trio[0].kill()
        await trio[1].promote()
        await recorder(manager).wait_for(Failover)
        await recorder(manager).wait_for(
            DialFailed, where=lambda event: event.host.endswith(str(trio[1].port))
        )
        assert (await manager.health()).state == "ready"  # nothing is wrong with the host
        configure.active = False
        back = await work.back(monotonic())

    assert back < 1.5, back
    assert len(work.failed) <= 8, work.errors()
    assert len(recorder(manager).of(Failover)) == 1


async def test_reset_raises_and_hangs_during_the_failover(
    trio: Cluster, moor: Callable[..., Any]
) -> None:
    reset = Broken()
    manager = await moor(trio[0], trio[1], reset=reset, cancel_timeout=0.1)
    async with Workload(manager) as work:
        reset.active = True
        await trio[0].kill()
        await trio[1].promote()
        await recorder(manager).wait_for(Failover)
        await work.flowing(monotonic())  # slowly: each connection serves once
        reset.active = False
        back = await work.back(monotonic())

    assert back < 1.0, back
    assert len(work.failed) <= 8, work.errors()


async def test_listeners_that_raise_or_hang_do_not_disturb_a_failover(
    trio: Cluster, moor: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    received: list[str] = []
    stuck = asyncio.Event()

    def raises(event: object) -> None:
        received.append(type(event).__name__)
        raise ValueError("an error of the listener")

    async def hangs(event: object) -> None:
        stuck.set()
        await asyncio.Event().wait()

    manager = await moor(trio[0], trio[1], on_event=raises, close_timeout=0.3)
    manager.subscribe(hangs)
    async with Workload(manager) as work:
        back = await fail_over(trio, work)
        await recorder(manager).wait_for(Failover)
    await stuck.wait()
    began = monotonic()
    await manager.close()
    closing = monotonic() - began

    assert back < 1.0, back
    assert closing < 1.0, closing
    assert {"Connected", "Failover"} <= set(received)  # also those after its first error
    assert " failed on Connected" in caplog.text
    assert " did not finish within" in caplog.text


async def test_all_hosts_are_lost_one_by_one_and_return_in_another_order(
    trio: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(*trio, **BRISK)
    async with Workload(manager) as work:
        await trio[0].kill()
        await trio[1].promote()
        await trio.follow(trio[1])
        await work.back(monotonic())
        await trio[2].kill()
        await trio[1].freeze()
        await recorder(manager).wait_for(
            HostDown, where=lambda event: event.host.endswith(str(trio[1].port))
        )
        log = ServerLog(trio[0])
        await trio[0].start()  # the one on the oldest timeline comes first
        await trio[2].start()
        await recorder(manager).wait_for(SplitBrain)
        await trio[1].thaw()
        back = await work.back(monotonic())

    assert back < 2.0, back
    assert not log.statements()
    assert not recorder(manager).of(OutageStarted)  # the only host that qualifies stalled
