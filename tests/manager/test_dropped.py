"""A manager that nobody closes says so; one that needs no closing says nothing."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import warnings
from time import monotonic
from typing import TYPE_CHECKING

import pytest

from pgmoor import ConfigError, ConnectionManager
from pgmoor.instruments import Instrument
from support import both_loops, loop_name

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgmoor.testing import Cluster

LIMIT = 15.0  # seconds for a program

NOWHERE = "host=127.0.0.1 port=1 user=postgres"
FORGETFUL = """
import asyncio, gc, sys
from pgmoor import ConnectionManager

async def main():
    manager = ConnectionManager(sys.argv[2], name="forgotten", on_event=print)
    manager.instrument(__import__("pgmoor.instruments").instruments.Instrument())
    await manager.open(wait=True)
    async with manager.connection() as conn:
        await conn.execute("select 1")
    return manager

if sys.argv[1] == "uvloop":
    import uvloop
    factory = uvloop.new_event_loop
else:
    factory = asyncio.new_event_loop
with asyncio.Runner(loop_factory=factory) as runner:
    kept = runner.run(main())
"""
ENDS = {
    "dropped while the loop exists": "    del kept\n",
    "dropped after its loop": "del kept\ngc.collect()\nprint('collected')\n",
    "kept to the end of the program": "print('the end')\n",
}


async def run(*arguments: str) -> tuple[str, str]:
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-W", "always::ResourceWarning", "-c", *arguments],
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=True,
    )
    return done.stdout, done.stderr


@both_loops
@pytest.mark.parametrize("end", ENDS)
async def test_a_manager_that_is_dropped_open_gives_a_warning_that_names_it(
    end: str, alone: Cluster
) -> None:
    _, complaints = await run(FORGETFUL + ENDS[end], loop_name(), alone.conninfo())

    assert complaints.count("ResourceWarning: <ConnectionManager 'forgotten'") == 1, complaints
    assert "was dropped while it was open; use 'async with' or close()" in complaints


async def test_the_warning_has_the_manager_as_its_source_and_comes_after_the_end_of_its_loop(
    alone: Cluster,
) -> None:
    def program() -> list[object]:
        manager = ConnectionManager(alone.conninfo(), min_size=1, name="source")
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            asyncio.run(manager.open(wait=True))
            del manager
            gc.collect()
        return [one.source for one in caught if one.category is ResourceWarning]

    (source,) = await asyncio.to_thread(program)
    assert isinstance(source, ConnectionManager)
    assert source.name == "source"


async def ignore(_: object) -> None:
    """Do what a callback may do."""


async def test_the_warning_comes_at_once_and_the_manager_goes_on_without_its_object(
    alone: Cluster,
) -> None:
    manager = ConnectionManager(
        alone.conninfo(), min_size=1, on_event=ignore, reconnect_failed=ignore, configure=ignore
    )
    manager.instrument(Instrument())
    await manager.open(wait=True)
    runtime = manager._runtime
    assert runtime is not None
    try:
        block = manager.connection()
        with pytest.warns(ResourceWarning, match="was dropped while it was open"):
            del manager
        async with block as conn:
            await conn.execute("select 1")
    finally:
        await runtime.stop(monotonic(), None)


async def never_opened(conninfo: str) -> None:
    ConnectionManager(conninfo)


async def refused(conninfo: str) -> None:
    with pytest.raises(ConfigError):
        ConnectionManager(conninfo, min_size=-1)


async def closed(conninfo: str) -> None:
    async with ConnectionManager(conninfo, min_size=1) as manager:
        await manager.wait()


async def closed_before_it_was_opened(conninfo: str) -> None:
    await ConnectionManager(conninfo).close()


async def closed_by_a_task_that_is_cancelled(conninfo: str) -> None:
    manager = ConnectionManager(conninfo)
    await manager.open()
    closing = asyncio.create_task(manager.close())
    await asyncio.sleep(0)
    closing.cancel()
    await asyncio.wait([closing])


async def not_reached(_: str) -> None:
    async with ConnectionManager(NOWHERE):
        pass


async def forked(conninfo: str) -> None:
    async with ConnectionManager(conninfo, min_size=1) as manager:
        await manager.wait()
        if (pid := os.fork()) == 0:
            try:
                with warnings.catch_warnings(record=True) as caught:
                    warnings.simplefilter("always")
                    manager.__del__()
                os._exit(len(caught))
            finally:
                os._exit(99)
        status = await asyncio.to_thread(os.waitpid, pid, 0)
        assert os.waitstatus_to_exitcode(status[1]) == 0


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")  # fork, from 3.12 on
@pytest.mark.parametrize(
    "way",
    [
        never_opened,
        refused,
        closed,
        closed_before_it_was_opened,
        closed_by_a_task_that_is_cancelled,
        not_reached,
        forked,
    ],
)
async def test_a_manager_that_needs_no_closing_gives_no_warning(
    way: Callable[[str], object], alone: Cluster
) -> None:
    def program() -> list[str]:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            asyncio.run(way(alone.conninfo()))  # type: ignore[arg-type]
            gc.collect()
        return [str(one.message) for one in caught if one.category is ResourceWarning]

    assert await asyncio.to_thread(program) == []
