"""An outage longer than the callers' time: each is told at its own deadline, about every host."""

from __future__ import annotations

import asyncio
from time import monotonic
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from pgmoor import NoHostAvailable
from pgmoor.events import OutageStarted
from support import hold, recorder, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgmoor.testing import Cluster

TIMEOUT = 0.8  # seconds


@pytest.mark.filterwarnings("ignore::pgmoor.InsecureTransportWarning")
async def test_each_caller_is_told_at_its_own_deadline_what_is_wrong_with_each_host(
    pair: Cluster, moor: Callable[..., Any], proxies: Callable[..., Any]
) -> None:
    doors = proxies(pair)
    nowhere = SimpleNamespace(host="db.invalid", port=5432)
    manager = await moor(
        *doors,
        nowhere,
        min_size=2,
        max_size=2,
        timeout=TIMEOUT,
        health_interval=0.1,
        health_timeout=0.2,
    )
    held = await hold(manager, 2)  # these callers wait from before the outage on
    late: list[float] = []
    texts: list[str] = []

    async def call() -> None:
        began = monotonic()
        with pytest.raises(NoHostAvailable) as caught:
            async with manager.connection():
                pass
        late.append(monotonic() - began - TIMEOUT)
        texts.append(str(caught.value))

    early = [asyncio.create_task(call()) for _ in range(3)]
    await until(lambda: manager.get_stats()["requests_waiting"] == 3)
    await pair[0].kill()
    doors[1].silent()
    await recorder(manager).wait_for(OutageStarted)
    await until(lambda: manager.snapshot().hosts[1].status == "silent")
    later = []
    for _ in range(5):
        later.append(asyncio.create_task(call()))
        await asyncio.sleep(0.05)
    await asyncio.gather(*early, *later)

    assert all(-0.05 < seconds < 0.3 for seconds in late), late  # 0.1 s wanted
    names = [f"{server.host}:{server.port}" for server in (*doors, nowhere)]
    for text in texts[3:]:  # the first three did not see the end of it
        assert text.startswith(f"no host available within {TIMEOUT:.2f} s: {names[0]} down (")
        assert f"; {names[1]} silent (no answer within 0.2 s)" in text
        assert f"; {names[2]} down (its name was not resolved: " in text
    for conn in held:
        await manager.putconn(conn)
