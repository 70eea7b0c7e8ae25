"""pgmoor in Starlette, and the ground that `pgmoor.fastapi` stands on.

```python
manager = ConnectionManager("postgresql://app@db1,db2/orders")
app = Starlette(routes=[..., *health_routes(manager)], lifespan=lifespan(manager))
add_error_handlers(app)
```
"""

from __future__ import annotations

import inspect
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

from starlette.requests import Request  # noqa: TC002  FastAPI reads the annotations
from starlette.responses import Response
from starlette.routing import Route

from .web import NOT_NOW, check, refuse

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
    from contextlib import AbstractAsyncContextManager

    from starlette.applications import Starlette
    from starlette.requests import HTTPConnection

    from .checkout import Checkout
    from .manager import ConnectionManager
    from .renderings import Check

    Lifespan = Callable[[Any], AbstractAsyncContextManager[Mapping[str, Any] | None]]
    Permission = bool | Callable[[Request], bool | Awaitable[bool]]

__all__ = ["add_error_handlers", "connection", "health_routes", "lifespan"]

STATE = "pgmoor"  # where a request's state has the manager


def lifespan(
    manager: ConnectionManager, *others: ConnectionManager, inner: Lifespan | None = None
) -> Callable[[Any], AbstractAsyncContextManager[dict[str, Any]]]:
    """Return a lifespan that opens the managers, then runs the app's own *inner*; and back again.

    The app starts when the database is down, and is ready when it is up. The first manager is the
    one that `connection()` and FastAPI's `Connection` take from the request's state.
    """

    @asynccontextmanager
    async def run(app: Any) -> AsyncIterator[dict[str, Any]]:
        async with AsyncExitStack() as stack:
            for each in (manager, *others):
                await stack.enter_async_context(each)
            state: Mapping[str, Any] | None = None
            if inner is not None:
                state = await stack.enter_async_context(inner(app))
            yield {**(state or {}), STATE: manager}

    return run


def manager_of(request: HTTPConnection) -> ConnectionManager:
    """Return the manager that the app's lifespan has opened; raise `RuntimeError` without one."""
    manager: ConnectionManager | None = getattr(request.state, STATE, None)
    if manager is None:
        raise RuntimeError("the app was made without lifespan=lifespan(manager), or has not begun")
    return manager


def connection(request: HTTPConnection, timeout: float | None = None) -> Checkout:
    """Lend a connection for an `async with` block, as the manager's method does."""
    return manager_of(request).connection(timeout)


def add_error_handlers(app: Starlette) -> None:
    """Answer 503 with Retry-After where a request gets no connection, and log nothing as an error.

    That is for `PoolExhausted`, `TooManyRequests`, `NoHostAvailable` and `ManagerClosed`.
    """
    for kind in NOT_NOW:
        app.add_exception_handler(kind, _refuse)


async def _refuse(_: Request, error: Exception) -> Response:
    answer, headers = refuse(error)
    return Response(answer.body, answer.status_code, headers, answer.content_type)


def health_routes(manager: ConnectionManager, *, details: Permission = False) -> list[Route]:
    """Return the routes `/livez` and `/readyz`, from memory: no round trip, no connection.

    `/livez` says whether to restart the program, and never depends on the database; `/readyz` says
    whether to send requests. Both answer 200 or 503, in the format that the request accepts.
    Hosts, figures and error texts are shown for `?details`, when *details* is true or a function of
    the request that returns so.
    """
    return [
        Route("/livez", health_endpoint(manager, "live", details), methods=["GET"]),
        Route("/readyz", health_endpoint(manager, "ready", details), methods=["GET"]),
    ]


def health_endpoint(
    manager: ConnectionManager, which: Check, details: Permission
) -> Callable[[Request], Awaitable[Response]]:
    """Return the handler of one health check."""

    async def answer(request: Request) -> Response:
        allowed = await _allows(details, request)
        found = check(
            await manager.health(),
            which,
            request.headers.get("accept"),
            request.query_params,
            allowed=allowed,
        )
        return Response(found.body, found.status_code, found.headers, found.content_type)

    return answer


async def _allows(permission: Permission, request: Request) -> bool:
    if not callable(permission):
        return permission
    answer = permission(request)
    return bool(await answer if inspect.isawaitable(answer) else answer)
