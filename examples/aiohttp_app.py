"""Orders in aiohttp: placed and read over HTTP, with health routes for an orchestrator.

    python examples/aiohttp_app.py

It starts two PostgreSQL servers. Try:

    curl -X PUT -H 'Content-Type: application/json' -d '{"item": "pen"}' 127.0.0.1:8080/orders/7
    curl 127.0.0.1:8080/readyz

With DATABASE_URL it uses that database, which must have the table of `SCHEMA`. It needs
`pip install "pgmoor[aiohttp,testing]"`.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from aiohttp import web

from pgmoor import ConnectionManager
from pgmoor.aiohttp import connection, setup

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SCHEMA = "create table if not exists orders (number int primary key, item text not null)"

routes = web.RouteTableDef()


@routes.put("/orders/{number:[0-9]+}")
async def place(request: web.Request) -> web.Response:
    """Write an order. The client chooses the number, so it can safely send the request twice."""
    number, order = int(request.match_info["number"]), await request.json()
    async with connection(request) as conn:
        await conn.execute(
            "insert into orders values (%s, %s) on conflict do nothing", [number, order["item"]]
        )
    return web.json_response(order)


@routes.get("/orders/{number:[0-9]+}")
async def show(request: web.Request) -> web.Response:
    number = int(request.match_info["number"])
    async with connection(request) as conn:
        cursor = await conn.execute("select item from orders where number = %s", [number])
        row = await cursor.fetchone()
    if row is None:
        raise web.HTTPNotFound(text="no such order")
    return web.json_response({"item": row[0]})


def make_app(database_url: str) -> web.Application:
    app = web.Application()
    setup(app, ConnectionManager(database_url, name="orders", min_size=2, max_size=8, timeout=5))
    app.add_routes(routes)
    return app


async def prepare() -> web.Application:
    """Return the app, on DATABASE_URL or on servers that stop with the app."""
    if database_url := os.environ.get("DATABASE_URL"):
        return make_app(database_url)

    from pgmoor.testing import Cluster  # noqa: PLC0415  only tests and demos need it

    cluster = Cluster(standbys=1)
    await cluster.open()
    await cluster[0].sql(SCHEMA)
    app = make_app(cluster.conninfo())

    async def end(_: web.Application) -> AsyncIterator[None]:
        yield
        await cluster.close()

    app.cleanup_ctx.insert(0, end)
    return app


if __name__ == "__main__":
    web.run_app(prepare(), host="127.0.0.1", port=int(os.environ.get("PORT", "8080")))
