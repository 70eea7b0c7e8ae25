"""An app for web servers that run as processes. Its responses name the process.

`webapp:app` is the FastAPI app; `webapp:application` is the aiohttp one, as is `python -m webapp`.
DATABASE_URL names the database. OPEN_EARLY opens the manager at import, a mistake before a fork.
"""

from __future__ import annotations

import asyncio
import os
from typing import Any

from aiohttp import web
from fastapi import FastAPI

import pgmoor.aiohttp
from pgmoor import ConnectionManager
from pgmoor.fastapi import Connection, add_error_handlers, health_router, lifespan

WRITE = "insert into work (id) select %s from pg_sleep(0.02)"
manager = ConnectionManager(os.environ["DATABASE_URL"], min_size=2, name="web")
if "OPEN_EARLY" in os.environ:
    asyncio.run(manager.open())

app = FastAPI(lifespan=lifespan(manager))
app.include_router(health_router(manager))
add_error_handlers(app)


@app.get("/who")
async def who(conn: Connection) -> dict[str, Any]:
    return {
        "process": os.getpid(),
        "backend": conn.info.backend_pid,
        "loop": type(asyncio.get_running_loop()).__module__,
    }


@app.post("/rows/{key}")
async def write(key: str, conn: Connection) -> str:
    await conn.execute(WRITE, [key])
    return key


@app.get("/sleep")
async def sleep(conn: Connection) -> None:
    await conn.execute("select pg_sleep(60)")


async def aiohttp_who(request: web.Request) -> web.Response:
    async with pgmoor.aiohttp.connection(request) as conn:
        return web.json_response({"process": os.getpid(), "backend": conn.info.backend_pid})


async def aiohttp_write(request: web.Request) -> web.Response:
    async with pgmoor.aiohttp.connection(request) as conn:
        await conn.execute(WRITE, [request.match_info["key"]])
    return web.Response()


application = web.Application()
pgmoor.aiohttp.setup(application, manager)
application.router.add_post("/rows/{key}", aiohttp_write)
application.router.add_get("/who", aiohttp_who)

if __name__ == "__main__":
    web.run_app(application, host="127.0.0.1", port=0, shutdown_timeout=5)
