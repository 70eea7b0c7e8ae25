"""The page on real uvicorn and aiohttp servers: who may see it, its streams, and their end."""

from __future__ import annotations

import asyncio
import re
import socket
from contextlib import AsyncExitStack, asynccontextmanager
from time import monotonic
from typing import TYPE_CHECKING, Any, Self

import httpx2
import pytest
from aiohttp import web
from fastapi import Depends, FastAPI, Header, HTTPException
from starlette.applications import Starlette

import pgmoor.fastapi
import pgmoor.starlette
from pgmoor import ConnectionManager
from pgmoor._statuspage import aiohttp as served_by_aiohttp
from pgmoor._statuspage import asgi, page, stream
from pgmoor.aiohttp import add_status_page, setup
from serving import RawClient, aiohttp_server, program, uvicorn_server
from support import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from starlette.requests import Request

    from pgmoor.testing import Cluster

ALLOWED = {"X-Admin": "yes"}
FRAMEWORKS = ["starlette", "fastapi", "aiohttp"]
# FastAPI's endpoints are Starlette's, so what happens behind the authorisation is tested twice.
two = pytest.mark.parametrize("framework", ["starlette", "aiohttp"])


def new_manager(**settings: Any) -> ConnectionManager:
    """Return a manager without any server."""
    return ConnectionManager("host=127.0.0.1 port=1 user=nobody", name="orders", **settings)


@asynccontextmanager
async def serve(
    framework: str, manager: ConnectionManager, *, allow: bool | None = None
) -> AsyncIterator[httpx2.AsyncClient]:
    """Serve the page; without *allow*, to requests with the right header."""

    def may(request: Any) -> bool:
        return request.headers.get("x-admin") == "yes" if allow is None else allow

    async def guard(x_admin: str = Header(default="")) -> None:
        if allow is not True and x_admin != "yes":
            raise HTTPException(404)

    if framework == "aiohttp":
        app = web.Application()
        setup(app, manager)
        add_status_page(app, manager, allow=may)
        async with aiohttp_server(app) as http:
            yield http
        return
    if framework == "fastapi":
        api = FastAPI(lifespan=pgmoor.fastapi.lifespan(manager))
        api.include_router(pgmoor.fastapi.status_router(manager, dependencies=[Depends(guard)]))
        async with uvicorn_server(api) as http:
            yield http
        return
    routes = pgmoor.starlette.status_routes(manager, allow=may)
    starlette = Starlette(routes=routes, lifespan=pgmoor.starlette.lifespan(manager))
    async with uvicorn_server(starlette) as http:
        yield http


class Watching:
    """Reads a stream as a browser does, and keeps the text."""

    def __init__(self, http: httpx2.AsyncClient) -> None:
        self.text = ""
        self.ended = asyncio.Event()
        self._http = http

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])

    async def _read(self) -> None:
        async with self._http.stream("GET", "/status/stream", headers=ALLOWED, timeout=30) as got:
            assert got.status_code == 200
            assert got.headers["content-type"].startswith("text/event-stream")
            async for text in got.aiter_text():
                self.text += text
        self.ended.set()

    async def sees(self, text: str, timeout: float = 10) -> None:
        await until(lambda: text in self.text, timeout)


def tasks() -> set[asyncio.Task[Any]]:
    return {task for task in asyncio.all_tasks() if not task.done()}


@pytest.mark.parametrize("framework", FRAMEWORKS)
async def test_a_request_that_is_not_allowed_learns_nothing(framework: str) -> None:
    async with serve(framework, new_manager()) as http:
        responses = [await http.get(path) for path in ("/status", "/status/stream")]

    for response in responses:
        assert response.status_code == (404 if framework == "fastapi" else 403)
        assert not re.search("orders|127|pool|outage|refused|script", response.text)


@pytest.mark.parametrize("framework", FRAMEWORKS)
async def test_a_request_that_is_allowed_gets_the_page_and_its_security_headers(
    framework: str,
) -> None:
    async with serve(framework, new_manager()) as http:
        response = await http.get("/status", headers=ALLOWED)
        head = await http.head("/status", headers=ALLOWED)

    assert response.status_code == head.status_code == 200
    assert "127.0.0.1:1" in response.text
    for name, value in page.PAGE_HEADERS.items():
        assert response.headers[name] == value
    assert response.headers["Cache-Control"] == "no-store"
    assert response.headers["X-Content-Type-Options"] == "nosniff"


async def test_a_permission_can_raise_its_own_http_error() -> None:
    async def allow(request: Request) -> bool:
        if "authorization" not in request.headers:
            raise HTTPException(401, headers={"WWW-Authenticate": "Basic"})
        return False

    app = Starlette(routes=pgmoor.starlette.status_routes(new_manager(), allow=allow))
    async with uvicorn_server(app) as http:
        anonymous = await http.get("/status")
        logged_in = await http.get("/status", auth=("a", "b"))

    assert (anonymous.status_code, anonymous.headers["www-authenticate"]) == (401, "Basic")
    assert logged_in.status_code == 403


async def test_the_page_is_off_by_default() -> None:
    manager = new_manager()
    app = web.Application()
    setup(app, manager)
    async with aiohttp_server(app) as http:
        assert (await http.get("/status")).status_code == 404

    routes: list[Any] = list(pgmoor.starlette.health_routes(manager))
    routes += pgmoor.fastapi.health_router(manager).routes
    assert {route.path for route in routes} == {"/livez", "/readyz"}


def test_the_page_needs_a_decision_on_who_may_see_it() -> None:
    with pytest.raises(TypeError, match="allow"):
        pgmoor.starlette.status_routes(new_manager())  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="allow"):
        add_status_page(web.Application(), new_manager())  # type: ignore[call-arg]
    with pytest.raises(ValueError, match="who may see it"):
        pgmoor.fastapi.status_router(new_manager(), dependencies=[])


async def test_the_manager_can_be_named_as_one_of_the_lifespan() -> None:
    app = Starlette(
        routes=pgmoor.starlette.status_routes("orders", allow=True),
        lifespan=pgmoor.starlette.lifespan(new_manager),
    )
    for _ in range(2):  # an app that starts twice has another manager
        async with uvicorn_server(app) as http, Watching(http) as watching:
            await watching.sees("OutageStarted")


@two
async def test_viewers_get_the_present_state_and_then_each_change(
    framework: str, alone: Cluster
) -> None:
    manager = ConnectionManager(alone.conninfo(), min_size=1)
    async with serve(framework, manager) as http, Watching(http) as first:
        await first.sees("<strong>ready</strong>")
        async with Watching(http) as second:
            await second.sees("Connected")
            await alone[0].stop("immediate")
            await first.sees("OutageStarted")
            await second.sees("OutageStarted")
        assert first.text.startswith("retry: 1000\n\n")
        for message in first.text.removesuffix("\n\n").split("\n\n")[1:]:
            assert re.match('data: <section id="(state|hosts|pool|events)"', message)
            assert "\n" not in message


@two
async def test_viewers_that_disconnect_leave_no_task(framework: str) -> None:
    async with serve(framework, new_manager()) as http:
        async with Watching(http) as warm:
            await warm.sees("id=")
        await http.get("/status", headers=ALLOWED)
        await asyncio.sleep(0)
        for _ in range(3):
            before = len(tasks())
            clients = [RawClient(http, "/status/stream") for _ in range(5)]
            for client in clients:
                client.leave()
            async with Watching(http), Watching(http) as other:
                await other.sees("id=")
            await until(lambda before=before: len(tasks()) <= before, 5)  # type: ignore[misc]


@two
async def test_a_viewer_too_many_gets_503_until_another_leaves(
    framework: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "MAX_VIEWERS", 2)
    async with serve(framework, new_manager()) as http:
        async with Watching(http) as one, Watching(http) as two:
            await one.sees("id=")
            await two.sees("id=")
            refused = await http.get("/status/stream", headers=ALLOWED)
            assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
            assert (await http.get("/status", headers=ALLOWED)).status_code == 200

        async def admitted() -> None:
            while True:
                async with http.stream("GET", "/status/stream", headers=ALLOWED) as got:
                    if got.status_code == 200:
                        return
                await asyncio.sleep(0.02)

        await asyncio.wait_for(admitted(), 5)


async def test_parts_are_rendered_once_for_all_viewers(monkeypatch: pytest.MonkeyPatch) -> None:
    rendered = 0

    def count(*_: Any) -> dict[str, str]:
        nonlocal rendered
        rendered += 1
        return {"state": str(rendered)}

    async def watch(viewer: stream.Viewer | None) -> None:
        assert viewer is not None
        for _ in range(5):
            assert await viewer.next() is not None

    monkeypatch.setattr(stream, "parts", count)
    monkeypatch.setattr(stream, "CHECK_INTERVAL", 0.02)
    monkeypatch.setattr(stream, "SAMPLE_INTERVAL", 0.02)
    status = stream.StatusPage(manager := new_manager())
    async with manager:
        await asyncio.gather(*(watch(status.admit()) for _ in range(20)))

    assert rendered < 20


async def test_a_stream_ends_after_its_lifetime_so_that_its_viewer_is_authorised_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stream, "LIFETIME", 0.05)
    async with serve("starlette", new_manager()) as http, Watching(http) as watching:
        await asyncio.wait_for(watching.ended.wait(), 5)


async def test_closing_the_manager_shows_it_and_ends_the_streams() -> None:
    manager = new_manager()
    async with serve("starlette", manager) as http, Watching(http) as watching:
        await watching.sees("id=")
        await manager.close()
        await asyncio.wait_for(watching.ended.wait(), 5)
        assert "<strong>closed</strong>" in watching.text


async def test_without_updates_a_comment_keeps_the_stream_alive(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stream, "KEEP_ALIVE", 0.05)
    async with serve("starlette", new_manager()) as http, Watching(http) as watching:
        await watching.sees("\n\n: still here\n\n")


@two
async def test_a_viewer_that_reads_nothing_is_disconnected(
    framework: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    for module in (asgi, served_by_aiohttp):
        monkeypatch.setattr(module, "WRITE_TIMEOUT", 0.3)
    monkeypatch.setattr(stream, "CHECK_INTERVAL", 0.002)
    monkeypatch.setattr(stream, "SAMPLE_INTERVAL", 0.002)
    pages: list[stream.StatusPage] = []
    real = stream.StatusPage.__init__

    def noted(self: stream.StatusPage, manager: ConnectionManager) -> None:
        pages.append(self)
        real(self, manager)

    monkeypatch.setattr(stream.StatusPage, "__init__", noted)
    small(monkeypatch)
    async with serve(framework, new_manager(), allow=True) as http:
        client = RawClient(http, "/status/stream")
        await until(lambda: bool(pages[0].viewers), 5)
        await until(lambda: not pages[0].viewers, 20)
        client.leave()
    if framework == "starlette":  # uvicorn logs a response that was cut off
        assert "without completing response" in caplog.text


def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give servers' sockets small buffers, so that a viewer that reads nothing blocks soon."""
    real: Callable[..., socket.socket] = socket.socket.listen  # type: ignore[assignment]

    def listen(self: socket.socket, *args: int) -> None:
        self.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        real(self, *args)

    monkeypatch.setattr(socket.socket, "listen", listen)


@two
async def test_open_streams_do_not_delay_a_servers_shutdown(framework: str) -> None:
    async with asyncio.timeout(30), AsyncExitStack() as stack:
        async with serve(framework, new_manager()) as http:
            own = await stack.enter_async_context(httpx2.AsyncClient(base_url=http.base_url))
            watching = await stack.enter_async_context(Watching(own))
            await watching.sees("id=")
            began = monotonic()
        took = monotonic() - began
        await watching.ended.wait()

    assert took < 3


async def test_sigterm_ends_uvicorn_at_once_in_spite_of_open_streams() -> None:
    command = ("uvicorn", "statuspage.app:app", "--port", "0", "--loop", "uvloop")
    async with (
        program(*command) as running,
        httpx2.AsyncClient(base_url=await running.url()) as http,
        Watching(http) as watching,
    ):
        await watching.sees("id=")
        assert await running.terminate(15) < 4
        await asyncio.wait_for(watching.ended.wait(), 5)
    assert "Traceback" not in running.output
    assert running.process.returncode in (0, -15)
