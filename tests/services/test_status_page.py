"""The status page in a real browser, while a primary dies and a standby is promoted."""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from aiohttp import web
from starlette.applications import Starlette

from hostile import Conversation, HostileServer
from pgmoor import ConnectionManager
from pgmoor.aiohttp import add_status_page, setup
from pgmoor.starlette import lifespan, status_routes
from services.chromium import Chromium
from services.conftest import find_program
from serving import aiohttp_server, uvicorn_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from pgmoor.testing import Cluster

LIVE = "document.getElementById('link').textContent === 'live'"
HOSTS = "document.getElementById('hosts').innerText"
EVENTS = "document.getElementById('events').innerText"
VERDICT = "document.querySelector('#state strong').textContent"
IN_USE = "document.querySelector('tr.current th')?.textContent"
PHONE = 390  # pixels


@pytest.fixture
async def browser() -> AsyncIterator[Chromium]:
    async with Chromium(find_program("chromium")) as chromium:
        yield chromium


@asynccontextmanager
async def serve(manager: ConnectionManager, framework: str = "starlette") -> AsyncIterator[str]:
    """Serve the page; yield its URL."""
    if framework == "aiohttp":
        aio = web.Application()
        setup(aio, manager)
        add_status_page(aio, manager, allow=True)
        async with aiohttp_server(aio) as http:
            yield f"{str(http.base_url).rstrip('/')}/status"
        return
    app = Starlette(routes=status_routes(manager, allow=True), lifespan=lifespan(manager))
    async with uvicorn_server(app) as http:
        yield f"{str(http.base_url).rstrip('/')}/status"


@pytest.mark.parametrize("framework", ["starlette", "aiohttp"])
async def test_a_failover_appears_without_a_reload(
    framework: str, browser: Chromium, pair: Cluster
) -> None:
    manager = ConnectionManager(pair.conninfo(), min_size=2)
    async with serve(manager, framework) as url:
        await browser.emulate(width=1000, height=800)
        await browser.visit(url)
        await browser.until(f"{LIVE} && {VERDICT} === 'ready'")
        old, new = (f"{node.host}:{node.port}" for node in pair.nodes)
        assert str(await browser.evaluate(IN_USE)).startswith(old)
        await browser.evaluate("window.notReloaded = true")

        await pair[0].kill()
        await browser.until(f"{VERDICT} === 'outage'")
        await browser.until(f"{HOSTS}.includes('down')")
        await pair[1].promote()

        await browser.until(f"{VERDICT} === 'ready' && {IN_USE}.startsWith('{new}')")
        await browser.until(f"{EVENTS}.includes('failed over from {old} to {new}')")
        assert await browser.evaluate("window.notReloaded")
        assert await browser.evaluate("document.title") == f"{manager.name}: ready"
        assert browser.console == []
        assert browser.requested == [url, f"{url}/stream"]


async def test_the_page_fits_a_phone_in_light_and_dark(browser: Chromium, pair: Cluster) -> None:
    hosts = [f"{pair[0].host}:{pair[0].port}", f"/no-such-folder-{'long' * 15}"]
    manager = ConnectionManager("user=postgres sslmode=disable", hosts=hosts, name="n" * 80)
    async with serve(manager) as url:
        backgrounds = set()
        for dark in (False, True):
            await browser.emulate(width=PHONE, height=844, dark=dark)
            await browser.visit(url)
            await browser.until(f"{LIVE} && {EVENTS}.includes('is down')")
            assert await browser.evaluate("innerWidth") == PHONE
            assert await browser.evaluate("document.documentElement.scrollWidth") <= PHONE
            colour = "getComputedStyle(document.body).backgroundColor"
            backgrounds.add(await browser.evaluate(colour))
        assert len(backgrounds) == 2
        assert browser.console == []


async def test_without_javascript_the_page_shows_the_state_at_load_time(
    browser: Chromium, alone: Cluster
) -> None:
    manager = ConnectionManager(alone.conninfo(), min_size=1)
    async with serve(manager) as url:
        await manager.wait_ready()
        await browser.call("Emulation.setScriptExecutionDisabled", value=True)
        await browser.visit(url)

        text = str(await browser.evaluate("document.body.innerText"))
        assert "as of" in text
        for words in ("ready", "pass: connected", "primary", "in use"):
            assert words in text
        assert browser.requested == [url]


async def test_markup_from_a_hostile_server_is_shown_as_text(browser: Chromium) -> None:
    attack = "<img src=x onerror=alert(1)><script>window.owned=1</script>"

    def script(talk: Conversation) -> None:
        talk.startup()
        talk.error(attack)

    with HostileServer(script) as hostile:
        manager = ConnectionManager("user=u dbname=d", hosts=[f"{hostile.host}:{hostile.port}"])
        async with serve(manager) as url:
            await browser.visit(url)
            await browser.until(f"{LIVE} && {HOSTS}.includes('onerror')")
            assert attack in str(await browser.evaluate(HOSTS))
            assert await browser.evaluate("document.querySelectorAll('img').length") == 0
            assert await browser.evaluate("window.owned") is None
            assert browser.console == []


@pytest.mark.thorough
async def test_the_page_reconnects_when_the_server_is_back(browser: Chromium) -> None:
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
    first, second = await aiohttp_app("first"), await aiohttp_app("second")

    await web.TCPSite(first, "127.0.0.1", port).start()
    await browser.visit(f"http://127.0.0.1:{port}/status")
    await browser.until(LIVE)
    await asyncio.wait_for(first.cleanup(), 10)
    await browser.until("document.getElementById('link').className === 'lost'")
    assert "not live since" in str(await browser.evaluate("document.body.innerText"))

    await web.TCPSite(second, "127.0.0.1", port).start()
    await browser.until(LIVE)
    await asyncio.wait_for(second.cleanup(), 10)


async def aiohttp_app(name: str) -> web.AppRunner:
    """Return an app with the page, ready to be bound to a port."""
    app = web.Application()
    manager = ConnectionManager("host=127.0.0.1 port=1 user=u", name=name)
    setup(app, manager)
    add_status_page(app, manager, allow=True)
    runner = web.AppRunner(app)
    await runner.setup()
    return runner
