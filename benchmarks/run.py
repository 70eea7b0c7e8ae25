"""What `run()` costs while nothing fails, against the same transaction by hand on psycopg_pool.

One task inserts a row in a transaction, again and again, in ways that take turns in short slices,
in random order:

- by hand: `async with pool.connection() as conn`, and the `INSERT`;
- by hand with a key: the same, with the `INSERT` of a new key before it;
- `run()` and `run(key=True)`, with the same `INSERT`.

Each is compared with by hand, and `run(key=True)` with by hand with a key as well. Ratios are taken
within a round; the medians over the rounds are shown, and the least processor time that the client
takes for one. A proxy counts the round trips of one transaction. With `--durable` the server waits
for its disk at each COMMIT, as in production.

    python benchmarks/run.py [--rounds 300] [--count 20] [--durable] [--loop uvloop]

The limits: 1.05 times the time by hand, 1.15 times with a key, and no more round trips. Exit
status: 0 if they hold, 1 if not.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import random
import sys
import uuid
from statistics import median
from time import perf_counter, process_time
from typing import TYPE_CHECKING, Any

import uvloop
from psycopg_pool import AsyncConnectionPool

from pgmoor import ConnectionManager
from pgmoor.testing import Cluster, FaultProxy

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Way = Callable[[], Awaitable[object]]

INSERT = "insert into written (task) values (%s)"
KEY = "insert into pgmoor.transactions (key, attempt) values (%s, %s) on conflict (key) do nothing"
# Each way, with what it is compared, and how long it may take in comparison.
COMPARED = (
    ("by hand", "by hand", None),
    ("run()", "by hand", 1.05),
    ("by hand with a key", "by hand", None),
    ("run(key=True)", "by hand", 1.15),
    ("run(key=True)", "by hand with a key", 1.15),
)


async def insert(conn: Any, task: int) -> None:
    await conn.execute(INSERT, [task])


def ways(pool: AsyncConnectionPool[Any], manager: ConnectionManager) -> dict[str, Way]:
    async def by_hand() -> None:
        async with pool.connection() as conn:
            await conn.execute(INSERT, [1])

    async def by_hand_with_key() -> None:
        async with pool.connection() as conn:
            cursor = await conn.execute(KEY, [str(uuid.uuid4()), uuid.uuid4()])
            if cursor.rowcount == 1:
                await conn.execute(INSERT, [1])

    return {
        "by hand": by_hand,
        "by hand with a key": by_hand_with_key,
        "run()": lambda: manager.run(insert, 1),
        "run(key=True)": lambda: manager.run(insert, 1, key=True),
    }


async def timed(way: Way, count: int) -> tuple[float, float]:
    """Return the microseconds that one takes, and the processor time of the client in it."""
    began, used = perf_counter(), process_time()
    for _ in range(count):
        await way()
    micros = 1e6 / count
    return (perf_counter() - began) * micros, (process_time() - used) * micros


async def trips(way: Way, proxy: FaultProxy) -> int:
    """Return the round trips of one; the fewest, as a probe may come between."""
    found = []
    for _ in range(20):
        before = proxy.round_trips
        await way()
        found.append(proxy.round_trips - before)
    return min(found)


async def run(args: argparse.Namespace) -> bool:
    times: dict[str, list[float]] = {}
    used: dict[str, list[float]] = {}
    settings = {"fsync": "on"} if args.durable else {}
    async with Cluster(standbys=0, settings=settings) as cluster:
        conninfo = cluster.conninfo()
        await cluster[0].sql("create table written (task int)")
        async with (
            AsyncConnectionPool(conninfo, min_size=1, open=False) as pool,
            ConnectionManager(conninfo, min_size=1) as manager,
        ):
            await manager.install()
            each = ways(pool, manager)
            times = {name: [] for name in each}
            used = {name: [] for name in each}
            gc.collect()
            gc.freeze()
            for number in range(args.rounds + 1):
                for name in random.sample(list(each), len(each)):
                    taken, busy = await timed(each[name], args.count)
                    if number:  # the first round warms up
                        times[name].append(taken)
                        used[name].append(busy)
        with FaultProxy(cluster[0].host, cluster[0].port) as proxy:
            through = f"host={proxy.host} port={proxy.port} user=postgres dbname=postgres"
            async with (
                AsyncConnectionPool(through, min_size=1, open=False) as pool,
                ConnectionManager(through, min_size=1) as manager,
            ):
                counts = {n: await trips(way, proxy) for n, way in ways(pool, manager).items()}
    return show(times, used, counts)


def show(
    times: dict[str, list[float]], used: dict[str, list[float]], counts: dict[str, int]
) -> bool:
    good = True
    heads = f"{'median':>9}{'least':>9}{'client':>9}{'trips':>7}"
    print(f"{'':20}{heads}  {'compared with':20}{'ratio':>6}  wanted")
    for name, other, bound in COMPARED:
        ratio = median(a / b for a, b in zip(times[name], times[other], strict=True))
        figures = (median(times[name]), min(times[name]), min(used[name]))
        line = f"{name:20}{''.join(f'{figure:6.0f} µs' for figure in figures)}{counts[name]:7}"
        line += f"  {other:20}{ratio:6.3f}"
        if bound is not None:
            met = ratio <= bound and counts[name] <= counts[other]
            good = good and met
            line += f"{bound:8.2f}{'' if met else '  missed'}"
        print(line)
    return good


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--count", type=int, default=20, help="transactions in a slice")
    parser.add_argument("--durable", action="store_true", help="wait for the disk at each COMMIT")
    parser.add_argument("--loop", choices=["asyncio", "uvloop"], default="asyncio")
    args = parser.parse_args()
    loop = uvloop.new_event_loop() if args.loop == "uvloop" else asyncio.new_event_loop()
    return 0 if loop.run_until_complete(run(args)) else 1


if __name__ == "__main__":
    sys.exit(main())
