"""The event loops of the tests of failover."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from support import loop_factories

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest


def pytest_asyncio_loop_factories(item: pytest.Item) -> dict[str, Callable[..., Any]]:
    return loop_factories(item)
