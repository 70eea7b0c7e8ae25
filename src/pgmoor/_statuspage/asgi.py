"""The page and its stream in ASGI, for Starlette and FastAPI."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
from starlette.responses import Response, StreamingResponse

from .page import COMMON_HEADERS, PAGE_HEADERS
from .stream import FULL_HEADERS, STREAM_HEADERS, WRITE_TIMEOUT, StatusPage

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from pgmoor._core.manager.manager import ConnectionManager

    from .stream import Viewer


class Pages:
    """The pages of all managers that requests ask for, each made once."""

    def __init__(self, manager: ConnectionManager[Any] | None = None) -> None:
        self._pages: dict[ConnectionManager[Any], StatusPage] = {}
        if manager is not None:
            self.of(manager)  # it records events from now on

    def of(self, manager: ConnectionManager[Any]) -> StatusPage:
        """Return the page of a manager."""
        if manager not in self._pages:
            for gone in [other for other in self._pages if other.closed]:
                self._pages.pop(gone).detach()
            self._pages[manager] = StatusPage(manager)
        return self._pages[manager]


def forbidden() -> Response:
    """Return the response to a request that is not allowed. It reveals nothing."""
    return Response("Forbidden", 403, COMMON_HEADERS, "text/plain")


def document_response(page: StatusPage) -> Response:
    """Return the whole page."""
    return Response(page.document(), 200, PAGE_HEADERS)


class EventStreamResponse(StreamingResponse):
    """Streams updates until the client disconnects or the page ends; 503 for too many viewers."""

    def __init__(self, page: StatusPage) -> None:
        super().__init__((), 200, STREAM_HEADERS)
        self._page = page

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response; end as soon as the client disconnects."""
        if scope["method"] == "HEAD":
            await Response(None, 200, STREAM_HEADERS)(scope, receive, send)
        elif (viewer := self._page.admit()) is None:
            await Response(None, 503, FULL_HEADERS)(scope, receive, send)
        else:
            await self._serve(viewer, receive, send)

    async def _serve(self, viewer: Viewer, receive: Receive, send: Send) -> None:
        try:
            async with anyio.create_task_group() as group:

                async def until_disconnected() -> None:
                    while (await receive())["type"] != "http.disconnect":
                        pass
                    group.cancel_scope.cancel()

                group.start_soon(until_disconnected)
                await self._send_updates(viewer, send)
                group.cancel_scope.cancel()
        finally:
            viewer.leave()

    async def _send_updates(self, viewer: Viewer, send: Send) -> None:
        begin = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        try:
            with anyio.fail_after(WRITE_TIMEOUT):
                await send(begin)
            while (chunk := await viewer.next()) is not None:
                with anyio.fail_after(WRITE_TIMEOUT):
                    await send({"type": "http.response.body", "body": chunk, "more_body": True})
            with anyio.fail_after(WRITE_TIMEOUT):
                await send({"type": "http.response.body", "body": b"", "more_body": False})
        except OSError:  # the client disconnected, or reads too slowly (TimeoutError)
            return
