"""`lifespan(…, inner=…)` hands the managers on to the app's own lifespan, if it takes them."""

from __future__ import annotations

from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from fastapi import FastAPI

from pgmoor import ConnectionManager
from pgmoor.fastapi import lifespan

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


def made(name: str) -> ConnectionManager:
    return ConnectionManager("host=127.0.0.1 port=1 user=app", name=name)


async def run(inner: Any, *names: str) -> dict[str, Any]:
    """Start and stop an app; return its state."""
    app = FastAPI()
    async with lifespan(*(partial(made, name) for name in names), inner=inner)(app) as state:
        return state


async def test_the_apps_own_lifespan_gets_the_managers_in_their_order() -> None:
    @asynccontextmanager
    async def one(app: FastAPI, manager: ConnectionManager) -> AsyncIterator[dict[str, Any]]:
        assert isinstance(app, FastAPI)
        yield {"names": [manager.name], "open": not manager.closed}

    @asynccontextmanager
    async def two(
        app: FastAPI, orders: ConnectionManager, reports: ConnectionManager
    ) -> AsyncIterator[dict[str, Any]]:
        yield {"names": [orders.name, reports.name], "open": not (orders.closed or reports.closed)}

    class Lifespans:
        @asynccontextmanager
        async def method(self, app: FastAPI, manager: Any) -> AsyncIterator[dict[str, Any]]:
            yield {"names": [manager.name], "open": not manager.closed}

    for inner, names in (
        (one, ["orders"]),
        (two, ["orders", "reports"]),
        (Lifespans().method, ["orders"]),
    ):
        state = await run(inner, *names)
        assert (state["names"], state["open"]) == (names, True)


async def test_one_that_takes_the_app_alone_gets_no_manager() -> None:
    @asynccontextmanager
    async def inner(app: FastAPI, cache: str = "none") -> AsyncIterator[dict[str, Any]]:
        yield {"cache": cache}

    assert (await run(inner, "orders"))["cache"] == "none"


async def test_one_that_takes_too_many_is_an_error_that_says_what_it_gets() -> None:
    @asynccontextmanager
    async def inner(app: FastAPI, manager: Any, more: Any) -> AsyncIterator[None]:
        yield

    with pytest.raises(TypeError, match=r"and its managers \(1\)"):
        await run(inner, "orders")
