"""A manager in a forked child: a clear error, and no effect on the parent's sessions."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from support import both_loops, loop_name

if TYPE_CHECKING:
    from pgmoor.testing import Cluster

SCRIPT = Path(__file__).parents[1] / "forking.py"
CALLS = {"process": 6, "exit": 2}  # how many calls the child of each kind makes
# A child that goes on to use the loop it was forked with adds its descriptors to the epoll set of
# its parent, too. libuv then aborts one of the two processes, whatever the program does.
KINDS = {"asyncio": ["process", "exit"], "uvloop": ["process"]}


@both_loops
async def test_a_forked_child_gets_clear_errors_and_the_parents_sessions_live_on(
    alone: Cluster,
) -> None:
    loop = loop_name()
    kinds = KINDS[loop]

    async def run(kind: str) -> tuple[dict[str, Any], str]:
        program = await asyncio.create_subprocess_exec(
            *(sys.executable, str(SCRIPT), loop, kind, alone.conninfo(application_name=kind)),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, complaints = await asyncio.wait_for(program.communicate(), 20)
        assert program.returncode == 0, complaints.decode()
        return json.loads(out), complaints.decode()

    reports = await asyncio.gather(*map(run, kinds))
    for kind, (found, complaints) in zip(kinds, reports, strict=True):
        assert found["met"] is not None, complaints
        assert len(found["met"]) == CALLS[kind]
        assert all("was opened before a fork" in text for text in found["met"])
        assert found["code"] == 0, complaints
        assert found["same"]
        assert not found["events"]
        assert found["status"] == "pass"
        # A child that takes its parent's loop apart must expect complaints of that loop.
        assert not complaints or kind == "exit", complaints
