"""One library and one fault: what the application saw, as one line of JSON.

`failover.py` starts it in a process of its own, because a library may hang for good.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import logging
import os
import signal
import sys
from collections import Counter
from time import monotonic
from typing import TYPE_CHECKING, Any

import uvloop
from contestants import CONTESTANTS
from scenarios import FAULTS, Instants, Scene
from workload import TABLE, Workload

from pgmoor._cli.peers import bounded
from pgmoor.testing import Cluster, FaultProxy

if TYPE_CHECKING:
    from contestants import Contestant

MIN_SIZE, MAX_SIZE = 4, 8
BEFORE, STEP = 2.0, 0.25  # seconds: where the rates begin before the fault, and each one's step


def summary(work: Workload, instants: Instants, recovered: float | None) -> dict[str, Any]:
    errors = work.errors(instants.began)
    back = after = None
    if recovered is not None:
        back = recovered - instants.counts_from
        after = max(recovered - instants.writable, 0.0)
    return {
        "back": back,
        "after_writable": after,
        "writable": instants.writable - instants.began,
        "failed": errors.total(),
        "errors": dict(errors.most_common(4)),
        "hanging": work.hanging(),
        "lost": instants.lost,
        "written": work.written(instants.began),
        "rates": work.rates(instants.began - BEFORE, STEP),
    }


async def play(args: argparse.Namespace, scene: Scene, contestant: Contestant) -> dict[str, Any]:
    await contestant.open()
    work = Workload(contestant.operation)
    scene.flows = work.flow
    work.start()
    try:
        if not await work.flow(10.0):
            return {"problem": f"did not work before the fault: {dict(work.errors(0.0))}"}
        await asyncio.sleep(BEFORE if args.show else 0)
        instants = await FAULTS[args.fault](scene)
        recovered = await work.recover(instants.effective, instants.writable + args.limit)
        await asyncio.sleep(max(instants.began + args.show - monotonic(), 0))
        result = summary(work, instants, recovered)
    finally:
        alive = await work.stop()
        await bounded(contestant.close(), 3.0)
    return {**result, **await audit(work, scene, instants), "not_cancelled": alive}


async def audit(work: Workload, scene: Scene, instants: Instants) -> dict[str, int]:
    """Compare what was acknowledged with what the last primary has."""
    rows = await scene.cluster[instants.primary].sql("SELECT number FROM written")
    there = Counter(number for (number,) in rows)
    twice = sum(count - 1 for count in there.values())
    return {"missing": len(work.acknowledged - set(there)), "twice": twice}


async def run(args: argparse.Namespace) -> dict[str, Any]:
    count = 1 if args.fault == "outage" else 2
    async with Cluster(count - 1, synchronous=args.synchronous and count == 2) as cluster:
        await cluster[0].sql(TABLE)
        if count == 2:
            await cluster[1].wait_for("SELECT to_regclass('written') IS NOT NULL")
        with contextlib.ExitStack() as stack:
            proxies = [stack.enter_context(FaultProxy(n.host, n.port)) for n in cluster]
            servers = [(proxy.host, proxy.port) for proxy in proxies]
            contestant = CONTESTANTS[args.library](servers, min_size=MIN_SIZE, max_size=MAX_SIZE)
            scene = Scene(cluster, proxies, args.outage, args.stale, args.promote_after, _never)
            began = monotonic()
            result = await play(args, scene, contestant)
            return {**result, "took": monotonic() - began}


async def _never(_: float) -> bool:
    return False


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--library", required=True, choices=list(CONTESTANTS))
    parser.add_argument("--fault", required=True, choices=list(FAULTS))
    parser.add_argument("--limit", type=float, default=20.0, help="seconds until 'never'")
    parser.add_argument("--outage", type=float, default=8.0, help="seconds")
    parser.add_argument("--stale", type=float, default=8.0, help="seconds")
    parser.add_argument("--promote-after", type=float, default=0.0, help="seconds")
    parser.add_argument("--show", type=float, default=0.0, help="seconds of rates after the fault")
    parser.add_argument("--loop", choices=["asyncio", "uvloop"], default="asyncio")
    parser.add_argument("--synchronous", action="store_true")
    parser.add_argument("--verbose", action="store_true", help="show what the libraries log")
    return parser.parse_args()


def main() -> None:
    args = parse()
    # A SystemExit runs the exit handler that ends the servers.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    if not args.verbose:
        logging.disable()
    loop = uvloop.new_event_loop() if args.loop == "uvloop" else asyncio.new_event_loop()
    print(json.dumps(loop.run_until_complete(run(args))), flush=True)
    # The servers are gone; a task of the library that hangs must not keep the process alive.
    os._exit(0)


if __name__ == "__main__":
    main()
