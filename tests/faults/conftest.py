"""Fault and cancellation tests run under asyncio's loop and under uvloop's."""

from __future__ import annotations

import asyncio
import importlib.util
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from pgmoor.testing import Cluster

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable


def pytest_asyncio_loop_factories() -> dict[str, Callable[..., Any]]:
    factories: dict[str, Callable[..., Any]] = {"asyncio": asyncio.new_event_loop}
    if importlib.util.find_spec("uvloop"):
        import uvloop

        factories["uvloop"] = uvloop.new_event_loop
    return factories


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def _trio() -> AsyncIterator[Cluster]:
    settings = {"log_statement": "all", "log_line_prefix": "%m [%p] app=%a "}
    async with Cluster(standbys=2, settings=settings) as cluster:
        yield cluster


@pytest.fixture
async def trio(_trio: Cluster) -> Cluster:
    """A primary and two standbys, as they were when they were made; they log every statement."""
    await _trio.reset()
    await _trio[0].sql("create table if not exists work (id text, node int default 0)")
    await _trio[0].sql("truncate work")
    for node in _trio.nodes[1:]:
        await node.wait_for("select to_regclass('work') is not null")
    return _trio
