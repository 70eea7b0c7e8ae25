"""The page's history begins when the app starts, however the page finds its manager."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from fastapi import Depends, FastAPI
from starlette.applications import Starlette
from starlette.routing import Mount

from pgmoor import ConnectionManager
from pgmoor._statuspage import asgi, stream
from pgmoor.events import Connected, HostUp
from pgmoor.fastapi import status_router
from pgmoor.starlette import lifespan, status_routes
from support import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from pgmoor.testing import Cluster


async def nobody() -> None:
    """Let everyone see the page."""


def starlette_app(which: Any, life: Any) -> Any:
    return Starlette(routes=status_routes(which, allow=True), lifespan=life)


def fastapi_app(which: Any, life: Any) -> Any:
    app = FastAPI(lifespan=life)
    app.include_router(status_router(which, dependencies=[Depends(nobody)]), prefix="/admin")
    return app


def mounted_app(which: Any, life: Any) -> Any:
    inner = Starlette(routes=status_routes(which, allow=True))
    return Starlette(routes=[Mount("/admin", inner)], lifespan=life)


@pytest.mark.parametrize("which", [None, "orders", "given"])
@pytest.mark.parametrize("make_app", [starlette_app, fastapi_app, mounted_app])
async def test_the_history_begins_before_anybody_looks(
    make_app: Callable[[Any, Any], Any],
    which: str | None,
    alone: Cluster,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stream, "SAMPLE_INTERVAL", 0.05)
    monkeypatch.setattr(stream, "CHECK_INTERVAL", 0.01)
    pages: list[stream.StatusPage] = []

    class Page(stream.StatusPage):
        def __init__(self, manager: ConnectionManager) -> None:
            super().__init__(manager)
            pages.append(self)

    monkeypatch.setattr(asgi, "StatusPage", Page)
    manager = ConnectionManager(alone.conninfo(), name="orders", min_size=1)
    other = ConnectionManager(alone.conninfo(), name="reports", min_size=1)
    given = manager if which == "given" else which
    app = make_app(given, lifespan(lambda: manager, lambda: other))

    async with running(app):
        await manager.wait()
        (page,) = pages
        assert page._manager is manager
        await until(lambda: len(page._history._samples) > 1)
        await until(lambda: any(isinstance(event, Connected) for event in page._history.events))
        assert any(isinstance(event, HostUp) for event in page._history.events)
        assert not page.viewers


@asynccontextmanager
async def running(app: Any) -> AsyncIterator[None]:
    async with app.router.lifespan_context(app):
        yield
