"""The page and its stream in aiohttp's server."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from aiohttp import web

from pgmoor.http._permission import is_allowed

from .page import COMMON_HEADERS, PAGE_HEADERS
from .stream import FULL_HEADERS, STREAM_HEADERS, WRITE_TIMEOUT, StatusPage

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aiohttp.typedefs import Handler

    from pgmoor._core.manager.manager import ConnectionManager
    from pgmoor.http._permission import Permission

    from .stream import Viewer

    Signal = Callable[[web.Application], Awaitable[None]]


def endpoints(
    manager: ConnectionManager[Any], allow: Permission[web.Request]
) -> tuple[Handler, Handler, Signal, Signal]:
    """Return the handlers of the page and of its stream.

    And what to do at the application's start and at its shutdown: begin the history, and end all
    streams.
    """
    status = StatusPage(manager)

    async def page(request: web.Request) -> web.StreamResponse:
        if not await is_allowed(allow, request):
            return _forbidden()
        return web.Response(body=status.document(), headers=PAGE_HEADERS)

    async def stream(request: web.Request) -> web.StreamResponse:
        if not await is_allowed(allow, request):
            return _forbidden()
        viewer = status.admit()
        if viewer is None:
            return web.Response(status=503, headers=FULL_HEADERS)
        try:
            return await _send_updates(request, viewer)
        finally:
            viewer.leave()

    async def begin(_: web.Application) -> None:
        status.begin()

    async def end(_: web.Application) -> None:
        status.end_streams()

    return page, stream, begin, end


def _forbidden() -> web.Response:
    return web.Response(text="Forbidden", status=403, headers=COMMON_HEADERS)


async def _send_updates(request: web.Request, viewer: Viewer) -> web.StreamResponse:
    response = web.StreamResponse(headers=STREAM_HEADERS)
    await response.prepare(request)
    try:
        while (chunk := await viewer.next()) is not None:
            async with asyncio.timeout(WRITE_TIMEOUT):
                await response.write(chunk)
    except TimeoutError:  # the client reads too slowly, and the unsent rest would stay in memory
        if request.transport is not None:
            request.transport.abort()
    except ConnectionError:
        pass  # the client has disconnected
    return response
