"""What `run()` costs while nothing fails, against the same transaction by hand on psycopg_pool.

One task inserts a row in a transaction, again and again, in three ways that take turns, in random
order: by hand on psycopg_pool, with `run()`, and with `run(key=True)`. Ratios are taken within a
round; the medians over the rounds are shown. A proxy counts the round trips of one transaction.

    python benchmarks/run.py [--rounds 100] [--seconds 0.1] [--loop uvloop]

The limits: 1.05 times the time by hand, 1.15 times with a key, and no more round trips. Exit
status: 0 if they hold, 1 if not.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING, Any

import uvloop
from psycopg_pool import AsyncConnectionPool

from pgmoor import ConnectionManager
from pgmoor.testing import Cluster, FaultProxy

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Way = Callable[[], Awaitable[object]]

BOUNDS = {"by hand": 1.0, "run()": 1.05, "run(key=True)": 1.15}
INSERT = "insert into written (task) values (%s)"


async def insert(conn: Any, task: int) -> None:
    await conn.execute(INSERT, [task])


def ways(pool: AsyncConnectionPool[Any], manager: ConnectionManager) -> dict[str, Way]:
    async def by_hand() -> None:
        async with pool.connection() as conn:
            await conn.execute(INSERT, [1])

    return {
        "by hand": by_hand,
        "run()": lambda: manager.run(insert, 1),
        "run(key=True)": lambda: manager.run(insert, 1, key=True),
    }


async def timed(way: Way, seconds: float) -> float:
    """Return the microseconds that one takes."""
    began = perf_counter()
    count = 0
    while (now := perf_counter()) < began + seconds:
        await way()
        count += 1
    return (now - began) / count * 1e6


async def trips(way: Way, proxy: FaultProxy) -> int:
    """Return the round trips of one; the fewest, as a probe may come between."""
    found = []
    for _ in range(20):
        before = proxy.round_trips
        await way()
        found.append(proxy.round_trips - before)
    return min(found)


async def run(args: argparse.Namespace) -> bool:
    times: dict[str, list[float]] = {name: [] for name in BOUNDS}
    async with Cluster(standbys=0) as cluster:
        conninfo = cluster.conninfo()
        await cluster[0].sql("create table written (task int)")
        async with (
            AsyncConnectionPool(conninfo, min_size=1, open=False) as pool,
            ConnectionManager(conninfo, min_size=1) as manager,
        ):
            await manager.install()
            each = ways(pool, manager)
            for number in range(args.rounds + 1):
                for name in random.sample(list(each), len(each)):
                    taken = await timed(each[name], args.seconds)
                    if number:  # the first round warms up
                        times[name].append(taken)
        with FaultProxy(cluster[0].host, cluster[0].port) as proxy:
            through = f"host={proxy.host} port={proxy.port} user=postgres dbname=postgres"
            async with (
                AsyncConnectionPool(through, min_size=1, open=False) as pool,
                ConnectionManager(through, min_size=1) as manager,
            ):
                counts = {n: await trips(way, proxy) for n, way in ways(pool, manager).items()}
    return show(times, counts)


def show(times: dict[str, list[float]], counts: dict[str, int]) -> bool:
    hand = times["by hand"]
    good = True
    print(f"{'':16}{'µs':>8}{'ratio':>8}{'wanted':>8}{'round trips':>13}")
    for name, taken in times.items():
        ratio = median(one / other for one, other in zip(taken, hand, strict=True))
        met = ratio <= BOUNDS[name] and counts[name] <= counts["by hand"]
        good = good and met
        note = "" if met else "  missed"
        print(
            f"{name:16}{median(taken):8.0f}{ratio:8.3f}{BOUNDS[name]:8.2f}{counts[name]:13}{note}"
        )
    return good


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=0.1)
    parser.add_argument("--loop", choices=["asyncio", "uvloop"], default="asyncio")
    args = parser.parse_args()
    loop = uvloop.new_event_loop() if args.loop == "uvloop" else asyncio.new_event_loop()
    return 0 if loop.run_until_complete(run(args)) else 1


if __name__ == "__main__":
    sys.exit(main())
