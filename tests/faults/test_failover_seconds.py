"""How long a failover is said to have taken."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Any

from pgmoor.events import Failover, HostDown, OutageStarted
from support import recorder

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgmoor.testing import Cluster, FaultProxy


async def test_it_counts_from_the_first_sign_of_trouble(
    pair: Cluster, moor: Callable[..., Any], proxies: Callable[[Cluster], list[FaultProxy]]
) -> None:
    doors = proxies(pair)
    manager = await moor(*doors, health_interval=0.1, health_timeout=0.5, stall_timeout=0.3)
    await manager.wait()
    began = monotonic()
    doors[0].silent()
    await recorder(manager).wait_for(HostDown, where=lambda event: event.status == "silent")
    await recorder(manager).wait_for(OutageStarted)
    await pair[1].promote()
    event = await recorder(manager).wait_for(Failover)
    took = monotonic() - began

    # The first unanswered probe was asked within 0.1 s of the silence.
    assert took - 0.5 < event.seconds < took + 0.2
