"""The program is stopped (SIGSTOP) and continued: its own pause says nothing about a server."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

import pytest

from server_log import ServerLog
from support import LOOPS

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import AsyncIterator

    from pgmoor.testing import Cluster, Node

PROGRAM = Path(__file__).with_name("stopped_program.py")
# Longer than an observation is valid (6 s).
SECONDS = float(os.environ.get("PGMOOR_STOPPED_SECONDS", "6.2"))
ALARMS = {"Failover", "OutageStarted", "HostDown", "Stalled", "RoleChanged"}


class Program:
    """A process that runs `stopped_program.py`."""

    def __init__(self, process: Process) -> None:
        self._process = process

    async def line(self) -> Any:
        assert self._process.stdout is not None
        return json.loads(await asyncio.wait_for(self._process.stdout.readline(), 30))

    def stop(self) -> None:
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    async def reports(self, since: float) -> list[dict[str, Any]]:
        """Return what its managers report of the time after *since*."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{since}\n".encode())
        found: list[dict[str, Any]] = await self.line()
        return found


@asynccontextmanager
async def program(loop: str, *lists: list[Node]) -> AsyncIterator[Program]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        PROGRAM,
        loop,
        *(",".join(f"{node.host}:{node.port}" for node in nodes) for nodes in lists),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(PROGRAM.parent.parent)},
        limit=1 << 24,
    )
    try:
        yield Program(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@pytest.mark.thorough
async def test_a_program_that_was_stopped_raises_no_false_alarm_and_finds_real_faults(
    trio: Cluster, pair: Cluster, alone: Cluster
) -> None:
    lists = [list(pair), list(trio)[:2], list(alone)]
    async with AsyncExitStack() as stack:
        programs = [await stack.enter_async_context(program(loop, *lists)) for loop in LOOPS]
        for item in programs:
            assert await item.line() == "flows"
        for item in programs:
            item.stop()
        await alone[0].freeze()
        await trio[0].kill()
        await trio[1].promote()
        await trio[0].start()  # writable, like the new one
        log = ServerLog(trio[0])
        await asyncio.sleep(SECONDS)
        for item in programs:
            item.resume()
        await alone[0].thaw()
        since = monotonic()
        results = await asyncio.gather(*(item.reports(since) for item in programs))

    for untouched, moved, frozen in results:
        for report in (untouched, frozen):
            assert not report["errors"], report
            assert not ALARMS & set(report["events"]), report
        assert len(moved["errors"]) <= 6, moved  # what was in flight
        assert moved["events"].count("Failover") == 1, moved
        assert "SplitBrain" in moved["events"], moved
        for report in (untouched, moved, frozen):
            assert report["flows"] < 1.0, report
            assert report["back"] < 2.0, report
        await _nothing_lost(pair[0], untouched)
        await _nothing_lost(alone[0], frozen)
    assert not log.statements()


async def _nothing_lost(node: Node, report: dict[str, Any]) -> None:
    rows = {key for (key,) in await node.sql("select id from work")}
    assert set(report["acknowledged"]) <= rows
