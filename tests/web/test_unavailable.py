"""A request that gets no connection gets 503 with Retry-After, and no error is logged."""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy
from aiohttp import ClientSession, WSMsgType, web
from aiohttp import WSServerHandshakeError as Refused
from fastapi import FastAPI, WebSocket
from fastapi.responses import PlainTextResponse
from sqlalchemy.exc import OperationalError
from starlette.applications import Starlette
from starlette.routing import Route

import pgmoor.aiohttp
from pgmoor import ConnectionManager
from pgmoor.fastapi import Connection, add_error_handlers, connection, lifespan
from pgmoor.sqlalchemy import create_async_engine
from servers import NO_SERVER
from serving import aiohttp_server, uvicorn_server
from support import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager

    import httpx2 as httpx
    from starlette.requests import Request

    from pgmoor.testing import Cluster

    Serve = Callable[[ConnectionManager], AbstractAsyncContextManager[httpx.AsyncClient]]


async def use_sqlalchemy(manager: ConnectionManager, statement: str) -> None:
    async with create_async_engine(manager).connect() as conn:
        await conn.execute(sqlalchemy.text(statement))


def fastapi_server(
    manager: ConnectionManager,
) -> AbstractAsyncContextManager[httpx.AsyncClient]:
    app = FastAPI(lifespan=lifespan(manager))
    add_error_handlers(app, OperationalError)

    @app.get("/")
    async def plain(conn: Connection) -> None:
        await conn.execute("select 1")

    @app.get("/orm")
    async def orm(statement: str = "select 1") -> None:
        await use_sqlalchemy(manager, statement)

    return uvicorn_server(app)


def starlette_server(
    manager: ConnectionManager,
) -> AbstractAsyncContextManager[httpx.AsyncClient]:
    async def plain(request: Request) -> PlainTextResponse:
        async with connection(request) as conn:
            await conn.execute("select 1")
        return PlainTextResponse("")

    async def orm(request: Request) -> PlainTextResponse:
        await use_sqlalchemy(manager, request.query_params.get("statement", "select 1"))
        return PlainTextResponse("")

    routes = [Route("/", plain), Route("/orm", orm)]
    app = Starlette(routes=routes, lifespan=lifespan(manager))
    add_error_handlers(app, OperationalError)
    return uvicorn_server(app)


def served_by_aiohttp(
    manager: ConnectionManager,
) -> AbstractAsyncContextManager[httpx.AsyncClient]:
    async def plain(request: web.Request) -> web.Response:
        async with pgmoor.aiohttp.connection(request) as conn:
            await conn.execute("select 1")
        return web.Response()

    async def orm(request: web.Request) -> web.Response:
        await use_sqlalchemy(manager, request.query.get("statement", "select 1"))
        return web.Response()

    app = web.Application()
    pgmoor.aiohttp.setup(app, manager)
    app.router.add_get("/", plain)
    app.router.add_get("/orm", orm)
    return aiohttp_server(app)


@asynccontextmanager
async def exhausted(serve: Serve, alone: Cluster) -> AsyncIterator[tuple[httpx.AsyncClient, int]]:
    manager = ConnectionManager(alone.conninfo(), min_size=1, timeout=0.1)
    async with serve(manager) as client, manager.connection(timeout=5):
        yield client, 1


@asynccontextmanager
async def crowded(serve: Serve, alone: Cluster) -> AsyncIterator[tuple[httpx.AsyncClient, int]]:
    manager = ConnectionManager(alone.conninfo(), min_size=1, max_waiting=1)
    async with serve(manager) as client, manager.connection():
        waiting = asyncio.create_task(manager.getconn())
        await until(lambda: manager.snapshot().pool.waiting == 1)
        yield client, 1
        waiting.cancel()


@asynccontextmanager
async def without_host(
    serve: Serve, alone: Cluster
) -> AsyncIterator[tuple[httpx.AsyncClient, int]]:
    async with serve(ConnectionManager(NO_SERVER, min_size=1, timeout=0.1)) as client:
        yield client, 5


@asynccontextmanager
async def closed(serve: Serve, alone: Cluster) -> AsyncIterator[tuple[httpx.AsyncClient, int]]:
    manager = ConnectionManager(alone.conninfo(), min_size=1)
    async with serve(manager) as client:
        await manager.close()
        yield client, 5


@pytest.mark.parametrize(
    ("serve", "arrange"),
    [
        (fastapi_server, exhausted),
        (fastapi_server, crowded),
        (fastapi_server, without_host),
        (fastapi_server, closed),
        (starlette_server, without_host),
        (served_by_aiohttp, exhausted),
    ],
)
async def test_the_response_is_503_and_no_error_is_logged(
    serve: Serve,
    arrange: Callable[..., Any],
    alone: Cluster,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with arrange(serve, alone) as (client, seconds):
        for path in ("/", "/orm"):
            response = await client.get(path)

            assert response.status_code == 503
            assert response.headers["retry-after"] == str(seconds)
            assert response.headers["cache-control"] == "no-store"
            assert response.json() == {"detail": "The database is temporarily unavailable."}
    for record in caplog.records:
        assert record.levelno < logging.ERROR or record.name.startswith("pgmoor"), record


@pytest.mark.parametrize("serve", [fastapi_server, served_by_aiohttp])
async def test_sqlalchemys_errors_with_another_cause_stay_unhandled(
    serve: Serve, alone: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    async with serve(ConnectionManager(alone.conninfo(), min_size=1)) as client:
        statement = "select pg_terminate_backend(pg_backend_pid())"
        response = await client.get("/orm", params={"statement": statement})

    assert response.status_code == 500
    assert "OperationalError" in caplog.text


async def test_a_response_that_has_begun_is_cut_off_and_not_followed_by_another(
    caplog: pytest.LogCaptureFixture,
) -> None:
    manager = ConnectionManager(NO_SERVER, min_size=1, timeout=0.1)

    async def stream(request: web.Request) -> web.StreamResponse:
        begun = web.StreamResponse()
        await begun.prepare(request)
        async with manager.connection():
            return begun

    app = web.Application()
    pgmoor.aiohttp.setup(app, manager)
    app.router.add_get("/", stream)
    async with aiohttp_server(app) as client, client.stream("GET", "/") as response:
        assert response.status_code == 200
        with pytest.raises(Exception, match=r"incomplete|closed") as error:
            await response.aread()
        assert type(error.value).__module__.startswith("httpx2")
    assert "NoHostAvailable" in caplog.text


async def test_a_websocket_is_rejected_or_closed_if_already_accepted() -> None:
    manager = ConnectionManager(NO_SERVER, min_size=1, timeout=0.1)
    app = FastAPI(lifespan=lifespan(manager))
    add_error_handlers(app)

    @app.websocket("/before")
    async def before(websocket: WebSocket, conn: Connection) -> None:
        raise AssertionError("not reached")

    @app.websocket("/after")
    async def after(websocket: WebSocket) -> None:
        await websocket.accept()
        async with connection(websocket):
            raise AssertionError("not reached")

    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(uvicorn_server(app))
        session = await stack.enter_async_context(ClientSession(str(client.base_url)))
        with pytest.raises(Refused) as rejected:
            await session.ws_connect("/before")
        async with session.ws_connect("/after") as socket:
            closing = await socket.receive(timeout=5)

    assert rejected.value.status == 503
    assert rejected.value.headers is not None
    assert rejected.value.headers["Retry-After"] == "5"
    assert closing.type is WSMsgType.CLOSE
    assert closing.data == 1013
