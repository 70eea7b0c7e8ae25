"""pgmoor for FastAPI: what `pgmoor.starlette` has, and connections as dependencies.

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

try:
    from fastapi import APIRouter, Depends
    from starlette.requests import HTTPConnection  # noqa: TC002  FastAPI reads the annotations
except ImportError as _error:
    raise ImportError('pgmoor.fastapi needs fastapi: pip install "pgmoor[fastapi]"') from _error

from ._core.connection.managed import ManagedConnection
from ._core.manager.given import require_manager_or_name
from ._core.manager.manager import ConnectionManager
from ._core.settings.validation import check_timeout
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

    from starlette.requests import Request

    from .http._permission import Permission

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


async def get_manager(request: HTTPConnection) -> ConnectionManager[Any]:
    """Return the app's first manager. The dependency behind `Manager`."""
    return manager_of(request)


async def get_connection(request: HTTPConnection) -> AsyncIterator[ManagedConnection]:
    """Check out a connection. The dependency behind `Connection`, for `dependency_overrides`."""
    _reject_generators(request)
    async with manager_of(request).connection() as conn:
        yield conn


Manager = Annotated[ConnectionManager[Any], Depends(get_manager)]
"""The app's first manager."""

# The scope "function" ends when the path operation returns, before the response is sent. A slow
# client holds no connection, and a response that reports success is sent after the commit.
Connection = Annotated[ManagedConnection, Depends(get_connection, scope="function")]
"""A connection for a path operation. It is committed when the operation returns, rolled back when
it raises, and in both cases returned to the pool before the response is sent."""


def lend(
    manager: ConnectionManager[Any] | str | None = None,
    *,
    timeout: float | None = None,
    scope: Literal["function", "request"] = "function",
) -> Any:
    """Return a dependency like `Connection`, with another manager, *timeout* or *scope*.

    `Reports = Annotated[ManagedConnection, lend("reports", timeout=2)]`

    *manager* may also be the name of one of the lifespan's managers. *timeout* is in seconds. With
    the scope "request" you hold the connection until the response has been sent, so a streaming
    response can read rows from it. The result's attribute `dependency` is the key for
    `app.dependency_overrides`.
    """
    require_manager_or_name(manager, "lend()")
    check_timeout(timeout)

    async def dependency(request: HTTPConnection) -> AsyncIterator[ManagedConnection]:
        if scope == "function":
            _reject_generators(request)
        async with find(request, manager).connection(timeout) as conn:
            yield conn

    return Depends(dependency, scope=scope)


def _reject_generators(request: HTTPConnection) -> None:
    """Raise `TypeError` if the endpoint yields: the connection would be returned before it runs.

    FastAPI runs such an endpoint while it sends the response. Another request may have the
    connection by then.
    """
    endpoint = request.scope.get("endpoint")
    if inspect.isasyncgenfunction(endpoint) or inspect.isgeneratorfunction(endpoint):
        raise TypeError(
            f"{endpoint.__name__}() yields, so it runs while the response is sent, after this"
            ' connection was returned to the pool; use lend(scope="request")'
        )


def health_router(
    manager: ConnectionManager[Any] | str | None = None,
    *,
    prefix: str = "",
    details: Permission[Request] = False,
    dependencies: Sequence[Any] = (),
) -> APIRouter:
    """Return a router with `/livez` and `/readyz`; see `pgmoor.starlette.health_routes`.

    The routes are not in the app's OpenAPI document. *dependencies* are FastAPI's, for
    authorisation.
    """
    router = APIRouter(prefix=prefix, dependencies=list(dependencies), include_in_schema=False)
    methods = ["GET", "HEAD"]
    live = health_endpoint(manager, "live", details)
    ready = health_endpoint(manager, "ready", details)
    router.add_api_route("/livez", live, methods=methods, response_model=None)
    router.add_api_route("/readyz", ready, methods=methods, response_model=None)
    return router


def status_router(
    manager: ConnectionManager[Any] | str | None = None,
    *,
    dependencies: Sequence[Any],
    path: str = "/status",
) -> APIRouter:
    """Return a router with the status page; see `pgmoor.starlette.status_routes`.

    *dependencies* are FastAPI's and decide who may see the page: `[Depends(require_admin)]`. They
    run for the page and for its stream.

    Raises:
        ValueError: *dependencies* is empty.
    """
    if not dependencies:
        raise ValueError("the status page needs a dependency that decides who may see it")
    router = APIRouter(dependencies=list(dependencies), include_in_schema=False)
    page, stream = status_endpoints(manager, allow=True)
    router.add_api_route(path, page, methods=["GET", "HEAD"], response_model=None)
    router.add_api_route(f"{path}/stream", stream, methods=["GET"], response_model=None)
    return router
