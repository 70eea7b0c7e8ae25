"""A program ends with its own error, whatever it forgot to close."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pgmoor.testing import Cluster

LIMIT = 15.0  # seconds for the whole program; `close_timeout` is 5

HEAD = """
import asyncio, os, signal, sys
from pgmoor import ConnectionManager

async def main():
    manager = ConnectionManager(sys.argv[1], min_size=10)
"""
PROGRAMS = {
    "an error while the pool fills": (
        "    await manager.open(wait=True, timeout=1)\n",
        "PoolExhausted",
    ),
    "a script without close()": (
        (
            "    await manager.open()\n"
            "    await manager.wait_ready()\n"
            "    raise LookupError('the end')\n"
        ),
        "LookupError: the end",
    ),
    "Ctrl-C while the pool fills": (
        (
            "    await manager.open()\n"
            "    await manager.wait_ready()\n"
            "    signal.signal(signal.SIGINT, signal.default_int_handler)\n"
            "    os.kill(os.getpid(), signal.SIGINT)\n"
            "    await asyncio.sleep(60)\n"
        ),
        "KeyboardInterrupt",
    ),
}


@pytest.mark.parametrize("forgotten", PROGRAMS)
async def test_a_program_that_forgets_to_close_ends_with_its_own_error(
    forgotten: str, alone: Cluster
) -> None:
    body, expected = PROGRAMS[forgotten]
    await alone[0].sql("create role limited login connection limit 3")
    conninfo = alone.conninfo().replace("user=postgres", "user=limited")

    try:
        done = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-c", f"{HEAD}{body}\nasyncio.run(main())", conninfo],
            capture_output=True,
            text=True,
            timeout=LIMIT,
            check=False,
        )
    finally:
        await alone[0].sql("drop role limited")

    assert done.returncode != 0
    assert expected in done.stderr
