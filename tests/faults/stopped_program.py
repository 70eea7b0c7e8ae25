"""The program that `test_stopped` stops: it works, and reports what happened afterwards.

Arguments: the name of the event loop, and a list of hosts for each manager. It writes a line once
all its tasks have committed rows. It reads a line, an instant of the monotonic clock, and reports
what happened since then.
"""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import AsyncExitStack
from typing import Any

from pgmoor import ConnectionManager
from support import Recorder, Workload


def say(value: object) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


class Part:
    """One manager, its workload, and its events."""

    def __init__(self, name: str, hosts: str) -> None:
        self.manager = ConnectionManager(
            "user=postgres dbname=postgres", hosts=hosts.split(","), min_size=4, max_size=6
        )
        self.work = Workload(self.manager, tasks=8, name=name)
        self._recorder = Recorder(self.manager)
        self._seen = 0

    def forget(self) -> None:
        self._seen = len(self._recorder.events)

    async def report(self, since: float) -> dict[str, Any]:
        flows = await self.work.flowing(since) - since
        back = await self.work.back(since)
        await asyncio.sleep(0.2)
        return {
            "flows": flows,
            "back": back,
            "errors": self.work.errors(),
            "events": [type(event).__name__ for event in self._recorder.events[self._seen :]],
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
