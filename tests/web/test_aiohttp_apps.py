"""pgmoor in an aiohttp application: start and end, sub-applications, several databases, health."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from pgmoor import ConnectionManager
from pgmoor.aiohttp import MANAGER, connection, setup
from servers import NO_SERVER
from serving import aiohttp_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from pgmoor.testing import Cluster

REPORTS = web.AppKey("reports", ConnectionManager)
NAME = "show application_name"


async def name(request: web.Request) -> web.Response:
    async with connection(request) as conn:
        cursor = await conn.execute(NAME)
        return web.json_response(await cursor.fetchone())


async def report_name(request: web.Request) -> web.Response:
    async with connection(request, timeout=0.1, key=REPORTS) as conn:
        cursor = await conn.execute(NAME)
        return web.json_response(await cursor.fetchone())


async def test_the_application_starts_without_a_database_and_becomes_ready_with_it(
    alone: Cluster,
) -> None:
    await alone[0].stop()
    manager = ConnectionManager(alone.conninfo(), min_size=1)
    app = web.Application()
    setup(app, manager)
    app.router.add_get("/name", name)

    async with aiohttp_server(app) as client:
        assert (await client.get("/livez")).status_code == 200
        assert (await client.get("/readyz")).status_code == 503
        await alone[0].start()
        assert (await client.get("/name", timeout=10)).status_code == 200  # it waited
        assert (await client.get("/readyz")).status_code == 200
        assert (await client.head("/readyz")).status_code == 200
    assert manager.closed


async def test_contexts_set_up_later_can_use_the_manager_until_they_have_ended(
    alone: Cluster,
) -> None:
    ended = []

    async def run(app: web.Application) -> AsyncIterator[None]:
        yield
        async with app[MANAGER].connection() as conn:
            await conn.execute("select 1")
        ended.append(True)

    app = web.Application()
    setup(app, ConnectionManager(alone.conninfo(), min_size=1))
    app.cleanup_ctx.append(run)
    async with aiohttp_server(app):
        pass
    assert ended


async def test_sub_applications_use_each_manager_of_the_application(alone: Cluster) -> None:
    app, sub = web.Application(), web.Application()
    setup(app, ConnectionManager(alone.conninfo(application_name="a"), min_size=1))
    reports = ConnectionManager(alone.conninfo(application_name="b"), min_size=1)
    setup(app, reports, key=REPORTS, prefix="/reports")
    for each in (app, sub):
        each.router.add_get("/name", name)
        each.router.add_get("/report", report_name)
    app.add_subapp("/sub", sub)

    async with aiohttp_server(app) as client:
        for prefix in ("", "/sub"):
            assert (await client.get(f"{prefix}/name")).json() == ["a"]
            assert (await client.get(f"{prefix}/report")).json() == ["b"]
        assert (await client.get("/reports/readyz")).status_code == 200
        async with reports.connection():
            assert (await client.get("/sub/report")).status_code == 503
    assert len(app.middlewares) == 1


async def test_details_of_an_application_are_shown_if_requested_and_allowed(alone: Cluster) -> None:
    async def allowed(request: web.Request) -> bool:
        return request.headers.get("Authorization") == "Bearer let-me-see"

    app = web.Application()
    manager = ConnectionManager(alone.conninfo(), min_size=1)
    setup(app, manager, details=allowed)
    permission = {"Authorization": "Bearer let-me-see"}
    host = f"{alone[0].host}:{alone[0].port}"

    async with aiohttp_server(app) as client:
        await manager.wait()
        assert host not in (await client.get("/readyz?details")).text
        assert host not in (await client.get("/readyz", headers=permission)).text
        assert host in (await client.get("/readyz?details", headers=permission)).text
        plain = await client.get("/readyz", headers={"Accept": "text/plain"})
    assert plain.headers["content-type"] == "text/plain; charset=utf-8"
    assert plain.headers["cache-control"] == "no-store"


def test_a_second_manager_needs_its_own_key_and_prefix() -> None:
    app = web.Application()
    setup(app, ConnectionManager(NO_SERVER))
    with pytest.raises(ValueError, match="already has a manager"):
        setup(app, ConnectionManager(NO_SERVER))
    with pytest.raises(ValueError, match="routes already exist"):
        setup(app, ConnectionManager(NO_SERVER), key=REPORTS)
