"""FastAPI's `Connection`: when it commits, rolls back and returns to the pool."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator  # noqa: TC003  FastAPI reads the annotations
from time import monotonic
from typing import TYPE_CHECKING, Annotated, Any

import pytest
from fastapi import Depends, FastAPI, HTTPException
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

from pgmoor import ManagedConnection  # noqa: TC001  FastAPI reads the annotations
from pgmoor.fastapi import Connection, add_error_handlers, lend, lifespan
from serving import RawClient, aiohttp_server, uvicorn_server

if TYPE_CHECKING:
    import httpx2 as httpx

    from pgmoor import ConnectionManager
    from pgmoor.testing import Cluster

CHUNK = b"x" * 65536
BIG = 800  # chunks: 50 MB
INSERT = "insert into work (id) values (%s)"
# A trigger that acts at COMMIT and no earlier.
AT_COMMIT = """
create or replace function at_commit() returns trigger language plpgsql as $$ begin
  if new.id = 'slow' then perform pg_sleep(0.3); end if;
  if new.id = 'bad' then raise unique_violation; end if;
  if new.id = 'lost' then perform pg_terminate_backend(pg_backend_pid()); end if;
  return new;
end $$;
create constraint trigger at_commit after insert on work deferrable initially deferred
  for each row execute function at_commit();
"""


class Number(BaseModel):
    number: int


async def note(conn: Connection) -> int:
    """A second dependency that needs a connection."""
    await conn.execute(INSERT, ["noted"])
    return conn.info.backend_pid


async def chunks() -> AsyncIterator[bytes]:
    for _ in range(BIG):
        yield CHUNK


def make_app(manager: ConnectionManager) -> FastAPI:
    app = FastAPI(lifespan=lifespan(lambda: manager))
    add_error_handlers(app)

    @app.post("/rows/{key}")
    async def write(key: str, conn: Connection) -> str:
        await conn.execute(INSERT, [key])
        return key

    @app.post("/refused/{key}")
    async def refused(key: str, conn: Connection) -> None:
        await conn.execute(INSERT, [key])
        raise HTTPException(409, "no")

    @app.post("/failing/{key}")
    async def failing(key: str, conn: Connection) -> None:
        await conn.execute(INSERT, [key])
        raise ZeroDivisionError

    @app.post("/wrong/{key}", response_model=Number)
    async def wrong(key: str, conn: Connection) -> Any:
        await conn.execute(INSERT, [key])
        return {"number": "none"}

    @app.post("/shared/{key}")
    async def shared(key: str, conn: Connection, pid: Annotated[int, Depends(note)]) -> bool:
        await conn.execute(INSERT, [key])
        return pid == conn.info.backend_pid

    @app.get("/big")
    async def free(conn: Connection) -> StreamingResponse:
        await conn.execute("select 1")
        return StreamingResponse(chunks())

    @app.get("/held")
    async def held(conn: Annotated[ManagedConnection, lend(scope="request")]) -> StreamingResponse:
        await conn.execute("select 1")
        return StreamingResponse(chunks())

    return app


@pytest.fixture
async def manager(alone: Cluster, moor: Any) -> ConnectionManager:
    opened: ConnectionManager = await moor(alone[0], min_size=1, max_size=1, timeout=5)
    return opened


@pytest.fixture
async def client(manager: ConnectionManager) -> AsyncIterator[httpx.AsyncClient]:
    async with uvicorn_server(make_app(manager)) as served:
        yield served


async def rows(cluster: Cluster) -> list[str]:
    return [key for (key,) in await cluster[0].sql("select id from work order by 1")]


@pytest.fixture
async def at_commit(alone: Cluster) -> AsyncIterator[None]:
    await alone[0].sql(AT_COMMIT)
    yield
    await alone[0].sql("drop function at_commit cascade")


async def test_the_transaction_is_committed_before_the_response_is_sent(
    client: httpx.AsyncClient, alone: Cluster, at_commit: None
) -> None:
    response = await client.post("/rows/slow")

    assert await rows(alone) == ["slow"]
    assert response.status_code == 200
    assert response.elapsed.total_seconds() > 0.3  # the commit took that long


@pytest.mark.parametrize("key", ["bad", "lost"])
async def test_a_failed_commit_is_a_500(
    client: httpx.AsyncClient, alone: Cluster, at_commit: None, key: str
) -> None:
    response = await client.post(f"/rows/{key}")

    assert response.status_code == 500
    assert not await rows(alone)
    assert (await client.post("/rows/next")).status_code == 200


@pytest.mark.parametrize(("path", "status"), [("refused", 409), ("failing", 500), ("wrong", 500)])
async def test_the_transaction_of_an_endpoint_that_raises_is_rolled_back(
    client: httpx.AsyncClient, alone: Cluster, manager: ConnectionManager, path: str, status: int
) -> None:
    response = await client.post(f"/{path}/row")

    assert response.status_code == status
    assert manager.snapshot().pool.used == 0
    assert not await rows(alone)


async def test_all_dependencies_of_a_request_share_one_transaction(
    client: httpx.AsyncClient, alone: Cluster
) -> None:
    assert (await client.post("/shared/row")).json() is True
    assert await rows(alone) == ["noted", "row"]


async def test_a_client_that_does_not_read_holds_no_connection(
    client: httpx.AsyncClient, manager: ConnectionManager
) -> None:
    with RawClient(client, "/big") as slow:
        assert (await slow.begin()).startswith(b"HTTP/1.1 200")

        assert manager.snapshot().pool.used == 0
        began = monotonic()
        assert (await client.post("/rows/row")).status_code == 200  # the pool has one connection
        assert monotonic() - began < 1


async def test_with_the_scope_request_a_slow_client_holds_its_connection(
    client: httpx.AsyncClient, manager: ConnectionManager
) -> None:
    with RawClient(client, "/held") as slow:
        await slow.begin()
        writing = asyncio.create_task(client.post("/rows/later"))

        await asyncio.wait([writing], timeout=0.3)
        assert manager.snapshot().pool.used == 1
        assert not writing.done()
        assert await slow.rest() > BIG * len(CHUNK)
        assert (await writing).status_code == 200


async def test_aiohttp_commits_and_returns_the_connection_before_the_response_is_sent(
    manager: ConnectionManager, alone: Cluster, at_commit: None
) -> None:
    from aiohttp import web

    from pgmoor.aiohttp import MANAGER, connection

    async def write(request: web.Request) -> web.Response:
        async with connection(request) as conn:
            await conn.execute(INSERT, [request.match_info["key"]])
        return web.Response(body=BIG * CHUNK)

    app = web.Application()
    app[MANAGER] = manager
    app.router.add_get("/rows/{key}", write)
    async with aiohttp_server(app) as client:
        with RawClient(client, "/rows/slow") as slow:
            assert (await slow.begin()).startswith(b"HTTP/1.1 200")
            assert manager.snapshot().pool.used == 0
            assert await rows(alone) == ["slow"]
            assert (await client.get("/rows/bad")).status_code == 500
