"""A busy program with its metrics for Prometheus at http://127.0.0.1:8000/metrics.

    DATABASE_URL="postgresql://app@db1,db2/orders" python examples/metrics_prometheus.py

Without DATABASE_URL it starts a primary and a standby (needs the `testing` extra), and kills the
primary after ten seconds, so that the metrics show a failover. PORT sets another port. A scrape
configuration, alert rules and a dashboard are in examples/monitoring.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import signal
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import psycopg
from prometheus_client import REGISTRY, start_http_server

from pgmoor import ConnectionManager
from pgmoor.prometheus import Collector

if TYPE_CHECKING:
    from pgmoor.testing import Cluster

WORKERS = 6

logger = logging.getLogger("example")


async def work(manager: ConnectionManager) -> None:
    """Run queries for ever."""
    while True:
        try:
            async with manager.connection(timeout=2) as conn:
                await conn.execute("select pg_sleep(%s)", [random.expovariate(100)])
        except psycopg.OperationalError as error:
            logger.warning("a query failed: %s", error)
        await asyncio.sleep(0.02)


async def trouble(cluster: Cluster) -> None:
    """Kill the primary, and promote the standby a second later."""
    await asyncio.sleep(10)
    await cluster[0].kill()
    await asyncio.sleep(1)
    await cluster[1].promote()


async def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)-14s %(message)s")
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    async with AsyncExitStack() as stack:
        url = os.environ.get("DATABASE_URL")
        tasks = []
        if url is None:
            from pgmoor.testing import Cluster  # noqa: PLC0415  only tests and demos need it

            cluster = await stack.enter_async_context(Cluster(standbys=1))
            url = cluster.conninfo()
            tasks.append(asyncio.create_task(trouble(cluster)))
        manager = ConnectionManager(url, name="orders", min_size=2, max_size=4)
        REGISTRY.register(Collector(manager))
        await stack.enter_async_context(manager)
        # It serves from its own thread; nothing of it runs in the event loop.
        server, _ = start_http_server(int(os.environ.get("PORT", "8000")), "127.0.0.1")
        logger.info("http://127.0.0.1:%d/metrics", server.server_port)
        tasks += [asyncio.create_task(work(manager)) for _ in range(WORKERS)]
        await stopping.wait()
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


if __name__ == "__main__":
    asyncio.run(main())
