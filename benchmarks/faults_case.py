"""All rows of the table of faults in one environment, as one line of JSON for each row.

`faults.py` starts it with the interpreter of that environment.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import logging
import signal
import sys
from typing import TYPE_CHECKING, Any

from rows import ROWS, Stage, prepare

from pgmoor.testing import Cluster, FaultProxy

if TYPE_CHECKING:
    from collections.abc import Callable

LONGEST = 120.0  # seconds for one row


async def play(name: str, cluster: Cluster, interval: float) -> dict[str, Any]:
    await prepare(cluster)
    with contextlib.ExitStack() as stack:
        proxies = [stack.enter_context(FaultProxy(node.host, node.port)) for node in cluster]
        stage = Stage(cluster, proxies, interval)
        try:
            async with asyncio.timeout(LONGEST):
                return dict(await ROWS[name](stage))
        except Exception as error:  # noqa: BLE001  it becomes the result of the row
            return {"problem": f"{type(error).__name__}: {error}"}
        finally:
            await stage.close()


async def run(names: list[str], interval: float, repeat: int) -> None:
    async with Cluster(1, settings={"max_connections": "30"}) as cluster:
        for name in names:
            for _ in range(repeat):
                figures = await play(name, cluster, interval)
                print(json.dumps({"row": name, "figures": figures}), flush=True)


def loop_factory(name: str) -> Callable[[], asyncio.AbstractEventLoop]:
    if name == "asyncio":
        return asyncio.new_event_loop
    import uvloop  # noqa: PLC0415  only where it is used

    return uvloop.new_event_loop


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", required=True)
    parser.add_argument("--interval", type=float, required=True, help="health_interval, seconds")
    parser.add_argument("--loop", choices=["asyncio", "uvloop"], default="asyncio")
    parser.add_argument("--repeat", type=int, default=1)
    args = parser.parse_args()
    # A SystemExit runs the exit handler that ends the servers.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    logging.disable()
    with asyncio.Runner(loop_factory=loop_factory(args.loop)) as runner:
        runner.run(run(args.rows.split(","), args.interval, args.repeat))


if __name__ == "__main__":
    main()
