"""Clients that disconnect, and responses that are sent while their rows are read."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator  # noqa: TC003  FastAPI reads the annotations
from typing import TYPE_CHECKING, Annotated, Any

import pytest
from aiohttp import ClientSession, web
from fastapi import APIRouter, FastAPI, Request, WebSocket
from fastapi.responses import StreamingResponse

import pgmoor.aiohttp
from pgmoor import ManagedConnection
from pgmoor.fastapi import Connection, connection, lend, lifespan
from serving import RawClient, aiohttp_server, unused, uvicorn_server

if TYPE_CHECKING:
    import httpx2 as httpx

    from pgmoor import ConnectionManager
    from pgmoor.testing import Cluster

Streamed = Annotated[ManagedConnection, lend(scope="request")]
ROWS = "select generate_series(1, 5)"
MANY = "select generate_series(1, 2000), repeat('x', 8192)"
SLEEPS = "exists (select from pg_stat_activity where query ~ '^select pg_sleep' and state='active')"


router = APIRouter()


@router.get("/plain")
async def plain(conn: Connection) -> None:
    await conn.execute("select pg_sleep(0.5)")
    await conn.execute("insert into work (id) values ('plain')")


@router.get("/sleeping")
async def sleeping(conn: Streamed) -> StreamingResponse:
    async def body() -> AsyncIterator[bytes]:
        yield b"so far"
        await conn.execute("select pg_sleep(30)")

    return StreamingResponse(body())


@router.get("/own")
async def own(request: Request) -> StreamingResponse:
    async def body() -> AsyncIterator[bytes]:
        async with connection(request) as conn:
            yield b"so far"
            await conn.execute("select pg_sleep(30)")

    return StreamingResponse(body())


@router.get("/wrong")
async def wrong(conn: Connection) -> AsyncIterator[int]:
    async for (number,) in await conn.execute(ROWS):
        yield number


@router.get("/right")
async def right(conn: Streamed) -> AsyncIterator[int]:
    async with conn.cursor(name="rows") as cursor:
        async for (number,) in await cursor.execute(ROWS):
            yield number


@router.get("/batches")
async def batches(request: Request) -> StreamingResponse:
    async def body() -> AsyncIterator[bytes]:
        last = 0
        while True:
            query = f"select * from ({MANY}) as t(n, x) where n > %s order by n limit 100"
            async with connection(request) as conn:
                rows = await (await conn.execute(query, [last])).fetchall()
            if not rows:
                return
            last = rows[-1][0]
            for _, text in rows:
                yield text.encode()

    return StreamingResponse(body())


@router.websocket("/echo")
async def echo(websocket: WebSocket, conn: Connection) -> None:
    await websocket.accept()
    async for text in websocket.iter_text():
        cursor = await conn.execute("select %s::text", [text])
        await websocket.send_text((await cursor.fetchall())[0][0])
    await conn.execute("insert into work (id) values ('echoed')")


def aiohttp_app(manager: ConnectionManager) -> web.Application:
    async def plain(request: web.Request) -> web.Response:
        async with pgmoor.aiohttp.connection(request) as conn:
            await conn.execute("select pg_sleep(0.5)")
            await conn.execute("insert into work (id) values ('plain')")
        return web.Response()

    async def sleeping(request: web.Request) -> web.Response:
        async with pgmoor.aiohttp.connection(request) as conn:
            await conn.execute("select pg_sleep(30)")
        return web.Response()

    app = web.Application()
    app[pgmoor.aiohttp.MANAGER] = manager
    app.router.add_get("/plain", plain)
    app.router.add_get("/sleeping", sleeping)
    return app


@pytest.fixture
async def manager(alone: Cluster, moor: Any) -> ConnectionManager:
    # A server notices a lost client only at the end of a query, so end what other tests left.
    await alone[0].sql(
        "select pg_terminate_backend(pid, 5000) from pg_stat_activity"
        " where query ~ '^select pg_sleep' and pid <> pg_backend_pid()"
    )
    opened: ConnectionManager = await moor(alone[0], min_size=1, max_size=1, timeout=5)
    await opened.wait()
    return opened


@pytest.fixture
async def client(manager: ConnectionManager) -> AsyncIterator[httpx.AsyncClient]:
    app = FastAPI(lifespan=lifespan(lambda: manager))
    app.include_router(router)
    async with uvicorn_server(app) as served:
        yield served


async def backend(manager: ConnectionManager) -> int:
    """Return the backend of the pool's only connection."""
    async with manager.connection() as conn:
        return conn.info.backend_pid


async def disconnect_in_mid_query(
    client: httpx.AsyncClient, manager: ConnectionManager, alone: Cluster
) -> None:
    """Disconnect during a query, and see the request carried out all the same."""
    before = await backend(manager)
    with RawClient(client, "/plain"):
        await alone[0].wait_for(f"select {SLEEPS}")

    await alone[0].wait_for("select exists (select from work where id = 'plain')")
    await unused(manager)
    assert await backend(manager) == before


async def test_a_plain_endpoint_finishes_without_its_client(
    client: httpx.AsyncClient, manager: ConnectionManager, alone: Cluster
) -> None:
    await disconnect_in_mid_query(client, manager, alone)


async def test_an_aiohttp_handler_finishes_without_its_client_by_default(
    manager: ConnectionManager, alone: Cluster
) -> None:
    async with aiohttp_server(aiohttp_app(manager)) as client:
        await disconnect_in_mid_query(client, manager, alone)


async def test_with_handler_cancellation_aiohttp_cancels_the_query(
    manager: ConnectionManager, alone: Cluster
) -> None:
    before = await backend(manager)
    async with aiohttp_server(aiohttp_app(manager), handler_cancellation=True) as client:
        with RawClient(client, "/sleeping"):
            await alone[0].wait_for(f"select {SLEEPS}")
        await alone[0].wait_for(f"select not {SLEEPS}", timeout=5)
        await unused(manager)
    assert await backend(manager) == before


@pytest.mark.parametrize("path", ["/sleeping", "/own"])
async def test_a_disconnect_cancels_a_streaming_response_and_its_query(
    client: httpx.AsyncClient, manager: ConnectionManager, alone: Cluster, path: str
) -> None:
    before = await backend(manager)
    with RawClient(client, path) as leaving:
        assert await leaving.begin()
        await alone[0].wait_for(f"select {SLEEPS}")

    await alone[0].wait_for(f"select not {SLEEPS}", timeout=5)
    await unused(manager)
    assert await backend(manager) == before


async def test_an_endpoint_that_yields_gets_an_error_that_names_the_scope(
    client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    response = await client.get("/wrong")

    assert response.status_code == 500
    assert "wrong() yields" in caplog.text
    assert 'use lend(scope="request")' in caplog.text


async def test_an_endpoint_can_stream_rows_from_a_cursor(
    client: httpx.AsyncClient, manager: ConnectionManager
) -> None:
    response = await client.get("/right")

    assert response.text.split() == ["1", "2", "3", "4", "5"]
    await unused(manager)


async def test_batches_hold_no_connection_while_the_client_is_slow(
    client: httpx.AsyncClient, manager: ConnectionManager
) -> None:
    with RawClient(client, "/batches") as slow:
        await slow.begin()
        reader = asyncio.create_task(client.get("/right"))

        assert (await asyncio.wait_for(reader, 2)).status_code == 200  # the pool has one connection
        await unused(manager)
        assert await slow.rest() > 2000 * 8192


async def test_a_websocket_endpoint_holds_its_connection_until_it_ends(
    client: httpx.AsyncClient, manager: ConnectionManager, alone: Cluster
) -> None:
    async with (
        ClientSession(str(client.base_url)) as session,
        session.ws_connect("/echo") as socket,
    ):
        for text in ("one", "two"):
            await socket.send_str(text)
            assert await socket.receive_str(timeout=5) == text
            assert manager.snapshot().pool.used == 1
    await unused(manager)
    assert await alone[0].sql("select id from work") == [("echoed",)]
