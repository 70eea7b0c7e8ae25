"""A manager in a forked child: a clear error, and the parent's sessions feel nothing of it."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pgmoor.testing import Cluster

SCRIPT = Path(__file__).parents[1] / "forking.py"
CALLS = {"process": 5, "exit": 1}  # what the child of each kind asks of the manager


async def test_the_child_is_told_at_once_and_the_parents_sessions_live_on(
    alone: Cluster,
) -> None:
    uses_uvloop = type(asyncio.get_running_loop()).__module__.startswith("uvloop")
    loop = "uvloop" if uses_uvloop else "asyncio"

    async def run(how: str) -> tuple[dict[str, Any], str]:
        program = await asyncio.create_subprocess_exec(
            *(sys.executable, str(SCRIPT), loop, how, alone.conninfo(application_name=how)),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, complaints = await asyncio.wait_for(program.communicate(), 20)
        assert program.returncode == 0, complaints.decode()
        return json.loads(out), complaints.decode()

    for how, (found, complaints) in zip(CALLS, await asyncio.gather(*map(run, CALLS)), strict=True):
        assert found["met"] is not None, complaints
        assert len(found["met"]) == CALLS[how]
        assert all("was opened before a fork" in text for text in found["met"])
        assert found["code"] == 0, complaints
        assert found["same"]
        assert not found["events"]
        assert found["status"] == "pass"
        # Whoever goes on with the loop of another process has to expect its complaints.
        assert not complaints or how == "exit", complaints
