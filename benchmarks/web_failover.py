"""What clients of a web service see while its database's primary is killed.

The services are examples/fastapi_app.py (uvicorn) and examples/aiohttp_app.py, unchanged, each in a
process of its own. Two real PostgreSQL servers: a primary and a streaming standby. Sixteen clients,
each with a connection of its own, send `PUT /orders/N`, pause 20 ms and send the next; they give up
after 20 s and never send a request twice. After two seconds the primary is killed and the standby
promoted.

- *gap*: the longest time without a success of any client.
- *well again*: from the kill until every client has had a success and no error follows for 2 s; in
  brackets the part of it after the standby accepted writes.
- *slowest*: the longest time that a request took, whether it succeeded or failed.

    python benchmarks/web_failover.py [--only fastapi,aiohttp] [--repeat 3] [--promote-after 1]
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import os
import re
import sys
from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import monotonic
from typing import TYPE_CHECKING

import aiohttp

from pgmoor.testing import Cluster

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

EXAMPLES = Path(__file__).parents[1] / "examples"
SCHEMA = "create table orders (number int primary key, item text not null)"
CLIENTS = 16
PAUSE = 0.02  # seconds
BEFORE = 2.0  # seconds of load before the fault
CALM = 2.0  # seconds without an error: all is well
LIMIT = 20.0  # seconds until a client, and the benchmark, give up


@dataclass(frozen=True)
class Done:
    """One request; `answer` is its status, or the name of the client's error."""

    client: int
    began: float
    ended: float
    answer: int | str

    @property
    def good(self) -> bool:
        return self.answer == 200


@dataclass(frozen=True)
class Result:
    """The figures of one run; durations in seconds, None for never."""

    requests: int
    errors: Counter[int | str]
    gap: float
    slowest: float
    well_again: float | None
    after_writable: float | None


class Load:
    """The clients, and the results of their requests."""

    def __init__(self, url: str) -> None:
        self.done: list[Done] = []
        self._url = url
        self._numbers = itertools.count(1)

    async def client(self, number: int) -> None:
        timeout = aiohttp.ClientTimeout(total=LIMIT)
        async with aiohttp.ClientSession(self._url, timeout=timeout) as session:
            while True:
                began = monotonic()
                answer = await self._put(session, next(self._numbers))
                self.done.append(Done(number, began, monotonic(), answer))
                await asyncio.sleep(PAUSE)

    @staticmethod
    async def _put(session: aiohttp.ClientSession, order: int) -> int | str:
        try:
            async with session.put(f"/orders/{order}", json={"item": "pen"}) as response:
                await response.read()
                return response.status
        except (aiohttp.ClientError, TimeoutError) as error:
            return type(error).__name__

    def well_since(self, killed: float) -> float | None:
        """Return when every client had had a success after the last error, or None if not yet."""
        last = max([killed, *(one.ended for one in self.done if not one.good)])
        first: dict[int, float] = {}
        for one in self.done:
            if one.good and one.began >= last:
                first.setdefault(one.client, one.ended)
        return max(first.values()) if len(first) == CLIENTS else None

    def gap(self) -> float:
        """Return the longest time between two successes of any clients."""
        ends = sorted(one.ended for one in self.done if one.good)
        return max(later - earlier for earlier, later in itertools.pairwise(ends))


@asynccontextmanager
async def service(example: str, database_url: str) -> AsyncIterator[str]:
    """Run an example, and return its address."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(EXAMPLES / f"{example}_app.py")),
        env={**os.environ, "DATABASE_URL": database_url, "PORT": "0", "PYTHONUNBUFFERED": "1"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    assert process.stdout is not None
    try:
        while line := (await process.stdout.readline()).decode():
            if found := re.search(r"http://127\.0\.0\.1:\d+", line):
                break
        else:
            raise RuntimeError(f"{example} did not start")
        drain = asyncio.create_task(process.stdout.read())
        yield found.group()
        process.terminate()
        await asyncio.wait_for(process.wait(), LIMIT)
        await drain
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def measure(example: str, promote_after: float) -> Result:
    async with Cluster(standbys=1) as cluster:
        await cluster[0].sql(SCHEMA)
        await cluster[1].wait_for("select to_regclass('orders') is not null")
        async with service(example, cluster.conninfo()) as url:
            load = Load(url)
            clients = [asyncio.create_task(load.client(number)) for number in range(CLIENTS)]
            try:
                await asyncio.sleep(BEFORE)
                fault = monotonic()
                await cluster[0].kill()
                killed = monotonic()  # requests that begin later are served by the other server
                await asyncio.sleep(promote_after)
                await cluster[1].promote()
                writable = monotonic()
                well = await recover(load, killed, writable + LIMIT)
            finally:
                for client in clients:
                    client.cancel()
                await asyncio.gather(*clients, return_exceptions=True)
    return Result(
        requests=len(load.done),
        errors=Counter(one.answer for one in load.done if not one.good),
        gap=load.gap(),
        slowest=max(one.ended - one.began for one in load.done),
        well_again=None if well is None else well - fault,
        after_writable=None if well is None else well - writable,
    )


async def recover(load: Load, killed: float, deadline: float) -> float | None:
    """Return when all was well again, once that has lasted; None at *deadline*."""
    while monotonic() < deadline:
        well = load.well_since(killed)
        if well is not None and monotonic() - well > CALM:
            return well
        await asyncio.sleep(0.05)
    return None


def describe(example: str, result: Result) -> str:
    counted = (f"{count} x {answer}" for answer, count in sorted(result.errors.items(), key=str))
    errors = ", ".join(counted) or "none"
    well = "never"
    if result.well_again is not None and result.after_writable is not None:
        well = f"{result.well_again:.2f} s ({result.after_writable:.2f} s)"
    return (
        f"{example:8} requests {result.requests:5,}  errors {errors:12}  gap {result.gap:.2f} s"
        f"  slowest {result.slowest:.2f} s  well again {well}"
    )


def summary(example: str, results: list[Result]) -> str:
    well = [one.well_again for one in results if one.well_again is not None]
    again = f"{median(well):.2f} s in {len(well)} of {len(results)}" if well else "never"
    return (
        f"{example:8} medians of {len(results)}: errors"
        f" {median(one.errors.total() for one in results):.0f}"
        f" of {median(one.requests for one in results):,.0f},"
        f" gap {median(one.gap for one in results):.2f} s,"
        f" slowest {median(one.slowest for one in results):.2f} s,"
        f" well again {again}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", default="fastapi,aiohttp", help="with commas")
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--promote-after", type=float, default=0.0, help="seconds after the kill")
    args = parser.parse_args()
    for example in args.only.split(","):
        results = []
        for _ in range(args.repeat):
            results.append(asyncio.run(measure(example, args.promote_after)))
            print(describe(example, results[-1]), flush=True)
        if args.repeat > 1:
            print(summary(example, results), flush=True)


if __name__ == "__main__":
    main()
