"""When the host answers after a failure, pending dials are begun again, once."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from support import until

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgmoor.testing import Cluster, FaultProxy

HASTY = {"health_interval": 0.05, "health_timeout": 0.1, "stall_timeout": 60.0}


async def falter(door: FaultProxy) -> None:
    """Be silent for a while, again and again."""
    while True:
        door.silent()
        await asyncio.sleep(0.25)
        door.heal()
        await asyncio.sleep(0.35)


async def test_a_host_that_falters_gives_connections_although_configure_takes_longer(
    alone: Cluster, moor: Callable[..., Any], proxies: Callable[..., Any]
) -> None:
    (door,) = proxies(alone)

    async def configure(conn: Any) -> None:
        await asyncio.sleep(1.0)

    manager = await moor(
        door, min_size=0, max_size=1, configure=configure, kwargs={"connect_timeout": 5}, **HASTY
    )
    faltering = asyncio.create_task(falter(door))
    try:
        async with manager.connection(timeout=8):
            pass
    finally:
        faltering.cancel()
        with suppress(asyncio.CancelledError):
            await faltering
        door.heal()


async def test_a_dial_that_was_lost_in_a_silence_is_begun_again_when_it_ends(
    alone: Cluster, moor: Callable[..., Any], proxies: Callable[..., Any]
) -> None:
    (door,) = proxies(alone)
    manager = await moor(door, min_size=0, max_size=1, kwargs={"connect_timeout": 60}, **HASTY)
    await manager.wait_ready()
    door.deaf()
    dials = door.accepted
    caller = asyncio.create_task(manager.getconn(timeout=20))
    await until(lambda: door.accepted > dials)
    door.silent()
    await until(lambda: manager.snapshot().state == "stalled")
    door.heal()
    await manager.putconn(await asyncio.wait_for(caller, 10))
