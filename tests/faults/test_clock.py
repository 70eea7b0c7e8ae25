"""The system clock is set back and forth: no duration is measured with it."""

from __future__ import annotations

import ast
import asyncio
import itertools
import time
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any

import pgmoor
from pgmoor.events import Failover, HostDown
from support import Workload, fail_over, recorder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pytest

    from pgmoor.testing import Cluster

DAY = 86_400.0
SOURCES = Path(pgmoor.__file__).parent
# They show the time to people and other programs, and compare nothing with it.
SHOWN = {"events.py", "health.py", "otel/_spans.py", "_core/state/availability.py"}
CALENDAR = {"_core/settings/password.py"}  # a token's issuer says by the clock when it ends
WALL = {"time_ns", "now", "utcnow", "today", "localtime", "gmtime", "ctime"}


async def test_a_changed_clock_disturbs_neither_a_healthy_manager_nor_a_failover(
    pair: Cluster, moor: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    offset = 0.0
    real, real_ns = time.time, time.time_ns
    monkeypatch.setattr(time, "time", lambda: real() + offset)
    monkeypatch.setattr(time, "time_ns", lambda: real_ns() + int(offset * 1e9))
    manager = await moor(
        *pair, health_interval=0.05, keepalive_interval=0.1, validate_after=0.05, max_idle=0.3
    )
    async with Workload(manager) as work:

        async def set_the_clock() -> None:
            nonlocal offset
            for offset in itertools.cycle((DAY, -DAY, 0.0)):  # noqa: B007  the lambdas read it
                await work.flowing(monotonic())

        clock = asyncio.create_task(set_the_clock())
        for _ in range(10):
            await work.flowing(monotonic())
        assert not work.failed, work.errors()
        assert not recorder(manager).of(HostDown)

        back = await fail_over(pair, work)
        clock.cancel()

    assert back < 1.0, back
    assert len(work.failed) <= 8, work.errors()
    assert len(recorder(manager).of(Failover)) == 1


def test_only_modules_that_show_the_time_read_the_system_clock() -> None:
    found = {
        str(path.relative_to(SOURCES))
        for path in SOURCES.rglob("*.py")
        if path.relative_to(SOURCES).parts[0] not in ("_cli", "testing")
        and any(_reads_the_clock(ast.parse(path.read_text())))
    }

    assert found <= SHOWN | CALENDAR, found - SHOWN


def _reads_the_clock(tree: ast.AST) -> Iterator[ast.AST]:
    """Yield each use of `time.time` and its kin, and of `datetime.now` and its kin."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            name = node.value.id if isinstance(node.value, ast.Name) else None
            if node.attr in WALL or (node.attr, name) == ("time", "time"):
                yield node
        elif isinstance(node, ast.ImportFrom) and node.module == "time":
            yield from (alias for alias in node.names if alias.name in {"time", *WALL})
