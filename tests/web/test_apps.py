"""pgmoor in a FastAPI or Starlette app: lifespan, mounted apps, several databases, tests."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated, Any

import httpx2 as httpx
import pytest
from fastapi import APIRouter, FastAPI
from fastapi.testclient import TestClient
from starlette.applications import Starlette
from starlette.requests import Request  # noqa: TC002  FastAPI reads the annotations
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route

from pgmoor import ConnectionManager, ManagedConnection
from pgmoor.fastapi import (
    Connection,
    Manager,
    add_error_handlers,
    connection,
    get_connection,
    health_router,
    lend,
    lifespan,
)
from pgmoor.starlette import health_routes
from servers import NO_SERVER
from serving import uvicorn_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from psycopg import AsyncConnection

    from pgmoor.testing import Cluster

from_reports = lend("reports", timeout=0.1)
Reports = Annotated[ManagedConnection, from_reports]
router = APIRouter()


@router.get("/name")
async def app_name(conn: Connection) -> Any:
    cursor = await conn.execute("show application_name")
    return await cursor.fetchone()


@router.get("/reports")
async def report_name(conn: Reports) -> Any:
    cursor = await conn.execute("show application_name")
    return await cursor.fetchone()


@router.get("/manager")
async def manager_name(manager: Manager) -> str:
    return manager.name


def make_app(cluster: Cluster) -> FastAPI:
    """Return an app that can be started more than once."""

    def orders() -> ConnectionManager:
        return ConnectionManager(cluster.conninfo(application_name="a"), min_size=1, name="orders")

    def reports() -> ConnectionManager:
        return ConnectionManager(cluster.conninfo(application_name="b"), min_size=1, name="reports")

    app = FastAPI(lifespan=lifespan(orders, reports))
    app.include_router(router)
    app.include_router(health_router())
    app.include_router(health_router("reports", prefix="/reports"))
    return app


async def test_the_lifespan_composes_with_the_apps_own_lifespan_and_state(alone: Cluster) -> None:
    manager = ConnectionManager(alone.conninfo(), min_size=1)
    course: list[str] = []

    @asynccontextmanager
    async def inner(_: FastAPI) -> AsyncIterator[dict[str, Any]]:
        course.append(f"open: {not manager.closed}")
        yield {"cache": {"answer": 42}}
        async with manager.connection() as conn:  # open until the inner lifespan has ended
            await conn.execute("select 1")
        course.append("ended")

    app = FastAPI(lifespan=lifespan(manager, inner=inner))

    @app.get("/")
    async def answer(request: Request, conn: Connection) -> Any:
        await conn.execute("select 1")
        return request.state.cache

    async with uvicorn_server(app) as client:
        assert (await client.get("/")).json() == {"answer": 42}
    assert course == ["open: True", "ended"]
    assert manager.closed


async def test_another_lifespan_can_enter_the_lifespan(alone: Cluster) -> None:
    @asynccontextmanager
    async def outer(app: FastAPI) -> AsyncIterator[dict[str, Any]]:
        manager = ConnectionManager(alone.conninfo(), min_size=1, name="orders")
        async with lifespan(manager)(app) as state:
            yield {**state, "more": True}

    app = FastAPI(lifespan=outer)
    app.include_router(router)

    async with uvicorn_server(app) as client:
        assert (await client.get("/manager")).json() == "orders"


async def test_an_error_in_the_apps_own_lifespan_closes_the_manager(alone: Cluster) -> None:
    manager = ConnectionManager(alone.conninfo(), min_size=1)

    @asynccontextmanager
    async def inner(_: FastAPI) -> AsyncIterator[None]:
        if not manager.closed:
            raise ZeroDivisionError
        yield

    with pytest.raises(ZeroDivisionError):
        async with lifespan(manager, inner=inner)(FastAPI()):
            raise AssertionError("not reached")
    assert manager.closed


async def test_the_app_starts_without_a_database_and_becomes_ready_with_it(
    alone: Cluster,
) -> None:
    await alone[0].stop()
    manager = ConnectionManager(alone.conninfo(), min_size=1)
    app = FastAPI(lifespan=lifespan(manager))
    app.include_router(health_router(manager))
    app.include_router(router)

    async with uvicorn_server(app) as client:
        assert (await client.get("/livez")).status_code == 200
        assert (await client.get("/readyz")).status_code == 503
        await alone[0].start()
        assert (await client.get("/name", timeout=10)).status_code == 200  # it waited
        assert (await client.get("/readyz")).status_code == 200
        assert (await client.head("/readyz")).status_code == 200


async def test_a_missing_lifespan_is_an_error_that_names_it() -> None:
    app = FastAPI()
    app.include_router(router)
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        with pytest.raises(RuntimeError, match=r"no lifespan=lifespan\(manager\)"):
            await client.get("/name")


async def test_managers_of_one_app_need_different_names() -> None:
    one, other = (ConnectionManager(NO_SERVER, name="same") for _ in range(2))
    with pytest.raises(ValueError, match="two managers are named 'same'"):
        async with lifespan(one, other)(FastAPI()):
            raise AssertionError("not reached")
    assert one.closed


def test_a_connection_comes_from_the_named_manager(alone: Cluster) -> None:
    with TestClient(make_app(alone)) as client:
        assert client.get("/name").json() == ["a"]
        assert client.get("/reports").json() == ["b"]
        assert client.get("/manager").json() == "orders"
        assert client.get("/reports/readyz").status_code == 200


def test_an_unknown_manager_is_an_error_that_lists_the_known_ones(alone: Cluster) -> None:
    manager = ConnectionManager(NO_SERVER, name="orders")
    app = FastAPI(lifespan=lifespan(manager))
    app.include_router(router)
    with (
        TestClient(app) as client,
        pytest.raises(LookupError, match="'reports'; the lifespan has orders"),
    ):
        client.get("/reports")


def test_mounted_apps_use_the_managers_of_the_outer_app(alone: Cluster) -> None:
    async def lent(request: Request) -> JSONResponse:
        async with connection(request, name="reports") as conn:
            cursor = await conn.execute("show application_name")
            return JSONResponse(await cursor.fetchone())

    app = make_app(alone)
    mounted = FastAPI()
    mounted.include_router(router)
    app.mount("/mounted", mounted)
    routes = [Route("/lent", lent), *health_routes("reports", details=True)]
    app.mount("/other", Starlette(routes=[Mount("/deep", routes=routes)]))

    with TestClient(app) as client:
        assert client.get("/mounted/name").json() == ["a"]
        assert client.get("/mounted/reports").json() == ["b"]
        assert client.get("/other/deep/lent").json() == ["b"]
        assert "serviceId" not in client.get("/other/deep/readyz").json()
        assert client.get("/other/deep/readyz?details").json()["serviceId"] == "reports"


def test_mounted_apps_need_their_own_error_handlers() -> None:
    app = FastAPI(lifespan=lifespan(ConnectionManager(NO_SERVER, timeout=0.1)))
    add_error_handlers(app)
    with_handlers, without = FastAPI(), FastAPI()
    add_error_handlers(with_handlers)
    for path, mounted in (("/with", with_handlers), ("/without", without)):
        mounted.include_router(router)
        app.mount(path, mounted)

    with TestClient(app, raise_server_exceptions=False) as client:
        assert client.get("/with/name").status_code == 503
        assert client.get("/without/name").status_code == 500


def test_details_are_shown_if_requested_and_allowed(alone: Cluster) -> None:
    async def allowed(request: Request) -> bool:
        return request.headers.get("authorization") == "Bearer let-me-see"

    manager = ConnectionManager(alone.conninfo(), min_size=1, name="orders")
    app = FastAPI(lifespan=lifespan(manager))
    app.include_router(health_router(manager))
    app.include_router(health_router(manager, prefix="/guarded", details=allowed))
    permission = {"Authorization": "Bearer let-me-see"}
    host = f"{alone[0].host}:{alone[0].port}"

    with TestClient(app) as client:
        for path in ("/readyz?details", "/guarded/readyz?details"):
            assert host not in client.get(path).text
        assert host not in client.get("/guarded/readyz", headers=permission).text
        assert host in client.get("/guarded/readyz?details", headers=permission).text
        plain = client.get("/readyz", headers={"Accept": "text/plain"})
    assert plain.headers.get_list("content-type") == ["text/plain; charset=utf-8"]
    assert plain.headers["cache-control"] == "no-store"


def test_health_routes_and_connections_are_not_in_the_openapi_document(alone: Cluster) -> None:
    document = make_app(alone).openapi()

    assert set(document["paths"]) == {"/name", "/reports", "/manager"}
    for path in document["paths"].values():
        assert "parameters" not in path["get"]
        assert "requestBody" not in path["get"]
        assert set(path["get"]["responses"]) == {"200"}
    assert "components" not in document


def test_an_app_that_makes_its_managers_can_start_again(alone: Cluster) -> None:
    app = make_app(alone)
    for _ in range(2):
        with TestClient(app) as client:
            assert client.get("/name").status_code == 200


def test_an_app_with_a_closed_manager_does_not_start_and_says_what_to_do(alone: Cluster) -> None:
    app = FastAPI(lifespan=lifespan(ConnectionManager(alone.conninfo(), min_size=1)))
    with TestClient(app):
        pass
    with pytest.raises(RuntimeError, match="a function that makes a new one"), TestClient(app):
        raise AssertionError("not reached")


async def test_dependencies_can_be_overridden(alone: Cluster) -> None:
    app = make_app(alone)
    transport = httpx.ASGITransport(app)  # which runs no lifespan
    async with (
        ConnectionManager(alone.conninfo(application_name="t"), min_size=1) as manager,
        manager.connection() as conn,
        httpx.AsyncClient(transport=transport, base_url="http://test") as client,
    ):

        async def same() -> AsyncConnection[Any]:
            return conn

        app.dependency_overrides[get_connection] = same
        app.dependency_overrides[from_reports.dependency] = same
        assert (await client.get("/name")).json() == ["t"]
        assert (await client.get("/reports")).json() == ["t"]
