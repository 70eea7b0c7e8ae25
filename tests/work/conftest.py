"""What the tests of transactions share: a proxied server with its table of keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgmoor.testing import Cluster, FaultProxy


@pytest.fixture
def door(alone: Cluster, proxies: Callable[[Cluster], list[FaultProxy]]) -> FaultProxy:
    """A proxy in front of `alone`."""
    (proxy,) = proxies(alone)
    return proxy


@pytest.fixture
async def manager(door: FaultProxy, moor: Callable[..., Any], alone: Cluster) -> Any:
    """A manager over `door`, with the table of keys installed and empty."""
    made = await moor(door, min_size=2, max_size=4)
    await alone[0].sql("drop schema if exists pgmoor cascade")
    await made.install()
    return made
