"""Orders in FastAPI: placed and read over HTTP, with health routes for an orchestrator.

    python examples/fastapi_app.py

It starts two PostgreSQL servers. Try:

    curl -X PUT -H 'Content-Type: application/json' -d '{"item": "pen"}' 127.0.0.1:8000/orders/7
    curl 127.0.0.1:8000/readyz
    curl 127.0.0.1:8000/metrics/

With DATABASE_URL it uses that database, which must have the table of `SCHEMA`. It needs
`pip install "pgmoor[fastapi,prometheus,testing]" uvicorn`. In production, with any number of
workers:

    DATABASE_URL="postgresql://app@db1,db2/orders" uvicorn --factory fastapi_app:make_app
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

import uvicorn
from fastapi import APIRouter, FastAPI, HTTPException
from prometheus_client import CollectorRegistry, make_asgi_app
from pydantic import BaseModel

from pgmoor import ConnectionManager
from pgmoor.fastapi import Connection, add_error_handlers, health_router, lifespan
from pgmoor.prometheus import Collector

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SCHEMA = "create table if not exists orders (number int primary key, item text not null)"

router = APIRouter()


class Order(BaseModel):
    """An order."""

    item: str


@router.put("/orders/{number}")
async def place(number: int, order: Order, conn: Connection) -> Order:
    """Write an order. The client chooses the number, so it can safely send the request twice."""
    await conn.execute(
        "insert into orders values (%s, %s) on conflict do nothing", [number, order.item]
    )
    return order


@router.get("/orders/{number}")
async def show(number: int, conn: Connection) -> Order:
    cursor = await conn.execute("select item from orders where number = %s", [number])
    row = await cursor.fetchone()
    if row is None:
        raise HTTPException(404, "no such order")
    return Order(item=row[0])


def make_manager() -> ConnectionManager:
    """Return a manager for one process. Called each time that the app starts."""
    return ConnectionManager(
        os.environ["DATABASE_URL"], name="orders", min_size=2, max_size=8, timeout=5
    )


def make_app() -> FastAPI:
    registry = CollectorRegistry()

    @asynccontextmanager
    async def own(_: FastAPI, manager: ConnectionManager) -> AsyncIterator[None]:
        collector = Collector(manager)
        registry.register(collector)
        yield
        registry.unregister(collector)

    app = FastAPI(title="Orders", lifespan=lifespan(make_manager, inner=own))
    app.include_router(router)
    app.include_router(health_router())
    app.mount("/metrics", make_asgi_app(registry))  # not for the public
    add_error_handlers(app)
    return app


async def main() -> None:
    # uvicorn shuts down on SIGTERM and then raises it again. Exit, so that the servers stop, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    async with AsyncExitStack() as stack:
        if "DATABASE_URL" not in os.environ:
            from pgmoor.testing import Cluster  # noqa: PLC0415  only tests and demos need it

            cluster = await stack.enter_async_context(Cluster(standbys=1))
            await cluster[0].sql(SCHEMA)
            os.environ["DATABASE_URL"] = cluster.conninfo()
        port = int(os.environ.get("PORT", "8000"))
        config = uvicorn.Config(make_app(), port=port, timeout_graceful_shutdown=10)
        await uvicorn.Server(config).serve()


if __name__ == "__main__":
    asyncio.run(main())
