"""A service that writes a row a second, answers health probes and stops cleanly on SIGTERM.

    DATABASE_URL="postgresql://app@db1,db2/orders" python examples/service.py

Without DATABASE_URL it starts a primary and a standby (needs the `testing` extra).
While it runs: curl http://127.0.0.1:8080/ready
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
from contextlib import AsyncExitStack
from typing import Any

import psycopg

from pgmoor import ConnectionManager, Retry

logger = logging.getLogger("service")

# The key makes it safe to write a row again of which nobody knows whether it was written.
RETRY = Retry(idempotent=True)


async def write(conn: psycopg.AsyncConnection[Any], number: int) -> None:
    """Write one row."""
    await conn.execute("insert into ticks values (%s) on conflict do nothing", [number])


async def work(manager: ConnectionManager) -> None:
    async with manager.connection() as conn:
        await conn.execute("create table if not exists ticks (number int primary key)")
        cursor = await conn.execute("select coalesce(max(number), 0) from ticks")
        (number,) = await cursor.fetchone() or (0,)
    while True:
        number += 1
        while True:
            try:
                await manager.run(write, number, timeout=5, retry=RETRY)
                break
            except psycopg.Error as error:
                logger.warning("row %d is not written yet: %s", number, error)
                await asyncio.sleep(0.1)
        await asyncio.sleep(1)


class Probes:
    """Answers GET /live and GET /ready for an orchestrator."""

    def __init__(self, manager: ConnectionManager) -> None:
        self.manager = manager

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await asyncio.wait_for(reader.readline(), 5)
        health = await self.manager.health()
        good = health.ready if b"/ready" in request else health.live
        body = json.dumps(health.to_dict(details=False)).encode()
        status = b"200 OK" if good else b"503 Service Unavailable"
        writer.write(b"HTTP/1.0 " + status + b"\r\nContent-Type: application/json\r\n\r\n" + body)
        await writer.drain()
        writer.close()


async def serve(database_url: str) -> None:
    """Work until SIGTERM or Ctrl-C."""
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    manager = ConnectionManager(database_url, min_size=1, max_size=4, name="ticks")
    async with manager:
        port = int(os.environ.get("PORT", "8080"))
        probes = await asyncio.start_server(Probes(manager).answer, "127.0.0.1", port)
        worker = asyncio.create_task(work(manager), name="worker")
        until = asyncio.create_task(stopping.wait())
        await asyncio.wait([worker, until], return_when=asyncio.FIRST_COMPLETED)
        probes.close()
        until.cancel()
        worker.cancel()  # its transaction is rolled back, its connection returned
        await asyncio.wait([worker])
    if not worker.cancelled():
        worker.result()  # raises the error that ended it
    logger.info("stopped")


async def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)-14s %(message)s")
    async with AsyncExitStack() as stack:
        url = os.environ.get("DATABASE_URL")
        if url is None:
            from pgmoor.testing import Cluster  # noqa: PLC0415  only tests and demos need it

            cluster = await stack.enter_async_context(Cluster(standbys=1))
            url = cluster.conninfo()
        await serve(url)


if __name__ == "__main__":
    asyncio.run(main())
