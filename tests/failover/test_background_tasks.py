"""Background tasks run while they are needed; one that something else cancels is started again."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import pytest

from pgmoor import ConnectionManager
from pgmoor._core.failover import host_probe
from pgmoor._core.manager import runtime
from support import until

if TYPE_CHECKING:
    from pgmoor.testing import Cluster


@pytest.mark.parametrize("which", ["failover", "probe", "keepalive", "background"])
async def test_a_manager_survives_that_its_tasks_are_cancelled(
    which: str, pair: Cluster, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime, "RESTART_AFTER", 0.05)
    monkeypatch.setattr(host_probe, "RESTART_AFTER", 0.05)
    async with ConnectionManager(pair.conninfo(), min_size=1) as manager:
        await manager.wait()
        for task in asyncio.all_tasks():
            if task is not asyncio.current_task() and which in task.get_name():
                task.cancel()

        await until(lambda: not manager.snapshot().live)
        assert not manager.snapshot().ready
        await until(lambda: manager.snapshot().ready)
        await pair[0].kill()
        await pair[1].promote()
        async with manager.connection(timeout=10) as conn:
            assert conn.info.port == pair[1].port

    errors = [record for record in caplog.records if record.levelno >= logging.ERROR]
    ended = len(pair.nodes) if which == "probe" else 1  # each host has its own probe
    assert ["starting it again" in record.getMessage() for record in errors] == [True] * ended


async def test_a_search_survives_that_its_task_is_cancelled(
    alone: Cluster, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime, "RESTART_AFTER", 0.05)
    async with ConnectionManager(alone.conninfo(), min_size=1) as manager:
        await manager.wait()
        await alone[0].kill()
        await until(lambda: "pgmoor-reconnect" in _task_names())
        for task in asyncio.all_tasks():
            if task.get_name() == "pgmoor-reconnect":
                task.cancel()

        await until(lambda: "starting it again" in caplog.text)
        await alone[0].start()
        await manager.wait()
        await until(lambda: "pgmoor-reconnect" not in _task_names())


async def test_an_open_manager_has_few_tasks(alone: Cluster) -> None:
    before = len(asyncio.all_tasks())
    async with ConnectionManager(alone.conninfo(), min_size=4) as manager:
        await manager.wait()
        await until(lambda: len(asyncio.all_tasks()) - before <= 8)
        names = _task_names()
        assert not {name for name in names if "reconnect" in name or "discovery" in name}


def _task_names() -> set[str]:
    return {task.get_name() for task in asyncio.all_tasks()}
