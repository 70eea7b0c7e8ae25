"""pgmoor in FastAPI.

```python
manager = ConnectionManager("postgresql://app@db1,db2/orders")
app = FastAPI(lifespan=lifespan(manager))
app.include_router(health_router(manager))
add_error_handlers(app)

@app.get("/orders/{number}")
async def order(number: int, conn: Connection): ...
```
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import APIRouter, Depends
from starlette.requests import HTTPConnection  # noqa: TC002  FastAPI reads the annotations

from .connection import ManagedConnection
from .manager import ConnectionManager
from .starlette import (
    add_error_handlers,
    connection,
    find,
    health_endpoint,
    lifespan,
    manager_of,
    status_endpoints,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from .starlette import Permission

__all__ = [
    "Connection",
    "Manager",
    "add_error_handlers",
    "connection",
    "get_connection",
    "get_manager",
    "health_router",
    "lend",
    "lifespan",
    "manager_of",
    "status_router",
]


async def get_manager(request: HTTPConnection) -> ConnectionManager:
    """Return the app's first manager: the dependency behind `Manager`."""
    return manager_of(request)


async def get_connection(request: HTTPConnection) -> AsyncIterator[ManagedConnection]:
    """Lend a connection: the dependency behind `Connection`, for `app.dependency_overrides`."""
    _refuse_generators(request)
    async with manager_of(request).connection() as conn:
        yield conn


Manager = Annotated[ConnectionManager, Depends(get_manager)]
"""The app's first manager."""

# The scope "function" ends when the path operation returns and before the response is sent: a slow
# client does not hold a connection, and an answer that says "done" is sent after the commit.
Connection = Annotated[ManagedConnection, Depends(get_connection, scope="function")]
"""A connection for a path operation: committed when it returns, rolled back when it raises, and
given back, in both cases, before the response is sent."""


def lend(
    manager: ConnectionManager | str | None = None,
    *,
    timeout: float | None = None,
    scope: Literal["function", "request"] = "function",
) -> Any:
    """Return what `Connection` is made of, for another manager, *timeout* or *scope*.

    `Reports = Annotated[ManagedConnection, lend("reports", timeout=2)]`

    *manager* may be the name of one of the lifespan's. With the scope "request" the connection is
    kept until the response has been sent, for one that is sent while its rows are read. The
    attribute `dependency` of what is returned is a key for `app.dependency_overrides`.
    """

    async def dependency(request: HTTPConnection) -> AsyncIterator[ManagedConnection]:
        if scope == "function":
            _refuse_generators(request)
        async with find(request, manager).connection(timeout) as conn:
            yield conn

    return Depends(dependency, scope=scope)


def _refuse_generators(request: HTTPConnection) -> None:
    """Raise `TypeError` where the connection would have gone back before the endpoint's first line.

    FastAPI runs an endpoint that yields while it sends the response. Somebody else may have the
    connection by then.
    """
    endpoint = request.scope.get("endpoint")
    if inspect.isasyncgenfunction(endpoint) or inspect.isgeneratorfunction(endpoint):
        raise TypeError(
            f"{endpoint.__name__}() yields, so it runs while the response is sent, when this"
            ' connection has been given back; use lend(scope="request")'
        )


def health_router(
    manager: ConnectionManager | str | None = None,
    *,
    prefix: str = "",
    details: Permission = False,
    dependencies: Sequence[Any] = (),
) -> APIRouter:
    """Return a router with `/livez` and `/readyz`; see `pgmoor.starlette.health_routes`.

    They are not in the app's OpenAPI document. *dependencies* are FastAPI's, for authorisation.
    """
    router = APIRouter(prefix=prefix, dependencies=list(dependencies), include_in_schema=False)
    methods = ["GET", "HEAD"]
    live = health_endpoint(manager, "live", details)
    ready = health_endpoint(manager, "ready", details)
    router.add_api_route("/livez", live, methods=methods, response_model=None)
    router.add_api_route("/readyz", ready, methods=methods, response_model=None)
    return router


def status_router(
    manager: ConnectionManager | str | None = None,
    *,
    dependencies: Sequence[Any],
    path: str = "/status",
) -> APIRouter:
    """Return a router with the status page; see `pgmoor.starlette.status_routes`.

    *dependencies* are FastAPI's and decide who sees it: `[Depends(require_admin)]`. They run for
    the page and for its stream. Raises `ValueError` when there is none.
    """
    if not dependencies:
        raise ValueError("the status page needs a dependency that says who may see it")
    router = APIRouter(dependencies=list(dependencies), include_in_schema=False)
    page, stream = status_endpoints(manager, allow=True)
    router.add_api_route(path, page, methods=["GET", "HEAD"], response_model=None)
    router.add_api_route(f"{path}/stream", stream, methods=["GET"], response_model=None)
    return router
