"""A server that allows fewer connections than `max_size`: errors say so in the server's words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from pgmoor import PoolExhausted
from support import hold

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from pgmoor.testing import Cluster

REASON = 'too many connections for role "limited"'


@pytest.fixture
async def limited(alone: Cluster) -> AsyncIterator[Cluster]:
    """A server whose role `limited` may have three connections."""
    await alone[0].sql("create role limited login connection limit 3")
    yield alone
    await alone[0].sql("drop role limited")


async def test_a_caller_who_gets_nothing_is_told_why_the_pool_does_not_grow(
    limited: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(limited[0], min_size=1, max_size=3, kwargs={"user": "limited"})
    held = await hold(manager, 2)  # the third is the probe's

    with pytest.raises(PoolExhausted, match=REASON) as caught:
        await manager.getconn(timeout=1)

    assert caught.value.figures.used == 2
    assert caught.value.reason == REASON
    for conn in held:
        await manager.putconn(conn)


async def test_waiting_for_a_pool_that_can_t_be_filled_says_why(
    limited: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(limited[0], min_size=3, max_size=3, kwargs={"user": "limited"})

    with pytest.raises(PoolExhausted, match=REASON) as caught:
        await manager.wait(timeout=1)

    assert (caught.value.figures.used, caught.value.figures.size) == (0, 2)


async def test_a_pool_that_is_merely_full_gives_no_such_reason(
    alone: Cluster, moor: Callable[..., Any]
) -> None:
    manager = await moor(alone[0], min_size=1, max_size=1)
    (held,) = await hold(manager, 1)

    with pytest.raises(PoolExhausted) as caught:
        await manager.getconn(timeout=0.2)

    assert caught.value.reason is None
    await manager.putconn(held)
