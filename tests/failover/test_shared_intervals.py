"""Of managers that share a host's probe, each learns as often as its own `health_interval` says."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Any

from support import until

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgmoor.testing import Cluster


def clients_of(manager: Any) -> list[Any]:
    return list(manager._runtime.probing._clients.values())


def asked_at(manager: Any) -> float:
    """Return when the host that was asked longest ago was asked."""
    return min(float(state.asked_at) for state in manager._runtime.live.evidence.table)


async def test_who_joins_others_that_ask_more_seldom_need_not_wait_for_their_next_question(
    pair: Cluster, moor: Callable[..., Any]
) -> None:
    slow = await moor(*pair, min_size=1, health_interval=60)
    quick = await moor(*pair, min_size=1, health_interval=0.1)
    for manager in (slow, quick):
        await manager.wait()
    joining = clients_of(quick)

    def share() -> bool:
        return [client.probe for client in clients_of(slow)] == [client.probe for client in joining]

    await until(lambda: share() and not any(client.probe._asked for client in joining))
    parted_at = monotonic()
    keys = [client.key for client in joining]
    for client in joining:
        client.doubt_others()
        client.key = None  # as long as its own answers are others than theirs
    await until(lambda: min(asked_at(slow), asked_at(quick)) > parted_at)
    for client, key in zip(joining, keys, strict=True):
        client.key = key
    await until(share)
    joined_at = monotonic()
    await until(lambda: asked_at(quick) > joined_at + 0.2, timeout=5)
