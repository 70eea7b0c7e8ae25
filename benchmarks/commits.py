"""Transactions with `run()` while COMMITs are lost, servers crash, and standbys are promoted.

Sixteen tasks append to lists until so many transactions are done. Meanwhile a proxy loses COMMITs
before their delivery, and after it with their answers; every second the primary is killed, and a
standby promoted or it is started again. The history is written to a file, and judged by
`pgmoor.testing.check`.

    python benchmarks/commits.py [--transactions 10000] [--seconds-between-crashes 1] [--no-keys]
        [--history history.json]

Exit status: 0 if nothing was lost, happened twice or stayed undecided; 1 if not.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import random
import sys
from collections import Counter
from pathlib import Path
from time import monotonic
from typing import Any

import psycopg

from pgmoor import ConnectionManager, RetrySafety, retry_safety
from pgmoor.testing import Cluster, FaultProxy, History, Stage
from pgmoor.testing.check import check, load

TASKS = 16
ELEMENTS = 100  # of a list, about
TIMEOUT = 60.0  # seconds for one transaction
APPEND = (
    "insert into lists values (%s, array[%s]) on conflict (key)"
    " do update set elements = lists.elements || excluded.elements returning elements"
)


async def append(conn: Any, key: int, element: int) -> list[int]:
    (elements,) = await (await conn.execute(APPEND, [key, element])).fetchone()
    found: list[int] = elements
    return found


async def read(conn: Any) -> list[tuple[int, list[int]]]:
    cursor = await conn.execute("select key, elements from lists order by key")
    rows: list[tuple[int, list[int]]] = await cursor.fetchall()
    return rows


class Load:
    """The tasks, and the history of what they do."""

    def __init__(self, manager: ConnectionManager, history: History, *, keys: bool) -> None:
        self.numbers = itertools.count()
        self.outcomes: Counter[str] = Counter()
        self.longest = 0.0
        self._manager = manager
        self._history = history
        self._keys = keys
        self._processes = itertools.count(TASKS)

    async def work(self, process: int, count: int) -> None:
        while (element := next(self.numbers)) < count:
            key = element // ELEMENTS
            asked = [("append", key, element), ("r", key, None)]
            self._history.invoke(process, asked)
            began = monotonic()
            try:
                there = await self._manager.run(
                    append, key, element, timeout=TIMEOUT, key=True if self._keys else None
                )
            except psycopg.Error as error:
                known = retry_safety(error) is not RetrySafety.UNKNOWN
                self.outcomes["failed" if known else "undecided"] += 1
                print(f"{type(error).__name__}: {error}", file=sys.stderr)
                if known:
                    self._history.fail(process, asked)
                else:
                    self._history.info(process, asked)
                    process = next(self._processes)
            else:
                self.outcomes["committed"] += 1
                self._history.ok(process, [("append", key, element), ("r", key, there)])
            self.longest = max(self.longest, monotonic() - began)

    async def read_all(self) -> None:
        process = next(self._processes)
        for key, elements in await self._manager.run(read, readonly=True, timeout=TIMEOUT):
            self._history.invoke(process, [("r", key, None)])
            self._history.ok(process, [("r", key, elements)])


async def lose_commits(proxies: list[FaultProxy]) -> None:
    """Lose one COMMIT after the other, wherever the primary is."""
    while True:
        for proxy in proxies:
            proxy.lose_commits(random.randint(1, 3), delivered=random.random() < 0.5)
        await asyncio.sleep(random.uniform(0.02, 0.1))


async def crash(stage: Stage, pause: float, crashes: Counter[str]) -> None:
    """Kill the primary and promote a standby, or start it again; repair; again and again."""
    while True:
        await asyncio.sleep(pause)
        await stage.primary.kill()
        if random.random() < 0.7:
            await stage.promote()
            crashes["promotions"] += 1
        else:
            await stage.primary.start()
            crashes["restarts"] += 1
        await stage.wait_writable()
        await stage.repair()


async def run(args: argparse.Namespace) -> bool:
    crashes: Counter[str] = Counter()
    async with Cluster(standbys=2, synchronous=True) as cluster:
        with contextlib.ExitStack() as stack:
            proxies = [stack.enter_context(FaultProxy(n.host, n.port)) for n in cluster]
            history = stack.enter_context(History(args.history))
            hosts = [f"{proxy.host}:{proxy.port}" for proxy in proxies]
            conninfo = "user=postgres dbname=postgres"
            async with ConnectionManager(conninfo, hosts=hosts, min_size=8) as manager:
                await manager.install()
                async with manager.transaction() as conn:
                    await conn.execute("create table lists (key int primary key, elements int[])")
                work = Load(manager, history, keys=not args.no_keys)
                faults = [
                    asyncio.create_task(lose_commits(proxies)),
                    asyncio.create_task(
                        crash(Stage(cluster, proxies), args.seconds_between_crashes, crashes)
                    ),
                ]
                began = monotonic()
                tasks = [work.work(process, args.transactions) for process in range(TASKS)]
                await asyncio.gather(*tasks)
                for task in faults:
                    task.cancel()
                await asyncio.wait(faults)
                for task in faults:
                    if not task.cancelled():
                        task.result()
                for proxy in proxies:
                    proxy.heal()
                await work.read_all()
            took = monotonic() - began
            lost = sum(proxy.commits_lost for proxy in proxies)
    with args.history.open(encoding="utf-8") as lines:
        verdict = check(load(lines))
    print(f"{dict(work.outcomes)} in {took:.0f} s; the longest took {work.longest:.1f} s")
    print(
        f"{lost} COMMITs lost, {crashes['promotions']} promotions, {crashes['restarts']} restarts"
    )
    print(verdict)
    done = work.outcomes["committed"] == args.transactions
    return verdict.good and (done or args.no_keys)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--transactions", type=int, default=10_000)
    parser.add_argument("--seconds-between-crashes", type=float, default=1.0)
    parser.add_argument("--no-keys", action="store_true", help="resolve by transaction ids alone")
    parser.add_argument("--history", type=Path, default=Path("history.json"))
    return 0 if asyncio.run(run(parser.parse_args())) else 1


if __name__ == "__main__":
    sys.exit(main())
