"""A program for `test_stopped`: it works, is stopped from outside, and tells how it went on.

Arguments: the name of the event loop, and a list of hosts for each manager. When all flows it
writes a line; a line of input, an instant of the system's monotonic clock, has it report on what
came after.
"""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import AsyncExitStack
from typing import Any

from pgmoor import ConnectionManager
from support import Recorder, Workload


def say(words: object) -> None:
    sys.stdout.write(json.dumps(words) + "\n")
    sys.stdout.flush()


class Part:
    """One manager, what works with it, and what it says."""

    def __init__(self, name: str, hosts: str) -> None:
        self.manager = ConnectionManager(
            "user=postgres dbname=postgres", hosts=hosts.split(","), min_size=4, max_size=6
        )
        self.work = Workload(self.manager, tasks=8, name=name)
        self._recorder = Recorder(self.manager)
        self._told = 0

    def forget(self) -> None:
        self._told = len(self._recorder.events)

    async def report(self, since: float) -> dict[str, Any]:
        flows = await self.work.flowing(since) - since
        back = await self.work.back(since)
        await asyncio.sleep(0.2)
        return {
            "flows": flows,
            "back": back,
            "errors": self.work.errors(),
            "events": [type(event).__name__ for event in self._recorder.events[self._told :]],
            "sent": self.work.sent,
            "acknowledged": list(self.work.acknowledged),
        }


async def main(name: str, lists: list[str]) -> None:
    parts = [Part(f"{name}-", hosts) for hosts in lists]
    async with AsyncExitStack() as stack:
        for part in parts:
            await stack.enter_async_context(part.manager)
            await stack.enter_async_context(part.work)
        await asyncio.sleep(0.2)
        for part in parts:
            part.forget()
        say("flows")
        loop = asyncio.get_running_loop()
        since = float(await loop.run_in_executor(None, sys.stdin.readline))
        reports = await asyncio.gather(*(part.report(since) for part in parts))
    say(reports)


if __name__ == "__main__":
    loop_name, *arguments = sys.argv[1:]
    factory = None
    if loop_name == "uvloop":
        import uvloop

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(main(loop_name, arguments))
