"""pgmoor in Starlette, and the ground that `pgmoor.fastapi` stands on.

```python
manager = ConnectionManager("postgresql://app@db1,db2/orders")
app = Starlette(routes=[..., *health_routes(manager)], lifespan=lifespan(manager))
add_error_handlers(app)
```
"""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

from starlette.requests import Request  # noqa: TC002  FastAPI reads the annotations
from starlette.responses import Response
from starlette.routing import Route
from starlette.websockets import WebSocket, WebSocketState

from .health import State
from .http import health_response, unavailable_cause, unavailable_response
from .http._permission import is_allowed
from .http._unavailable import UNAVAILABLE_ERRORS
from .manager import ConnectionManager

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
    from contextlib import AbstractAsyncContextManager

    from starlette.applications import Starlette
    from starlette.requests import HTTPConnection

    from .checkout import Checkout
    from .http import Check

    Lifespan = Callable[[Any], AbstractAsyncContextManager[Mapping[str, Any] | None]]
    Permission = bool | Callable[[Request], bool | Awaitable[bool]]
    Given = ConnectionManager | Callable[[], ConnectionManager]
    Endpoint = Callable[[Request], Awaitable[Response]]

__all__ = [
    "add_error_handlers",
    "connection",
    "health_routes",
    "lifespan",
    "manager_of",
    "status_routes",
]

STATE = "pgmoor"  # where a request's state has the managers, by name, the app's first one first
TRY_AGAIN_LATER = 1013  # the code that a WebSocket is closed with (IANA's registry)


def lifespan(
    manager: Given, *others: Given, inner: Lifespan | None = None
) -> Callable[[Any], AbstractAsyncContextManager[dict[str, Any]]]:
    """Return a lifespan that opens the managers, then runs the app's own *inner*; and back again.

    The app starts when the database is down, and is ready when it is up. The first manager is the
    one that `connection()` and FastAPI's `Connection` take by default; others go by their names.

    Instead of a manager it takes a function that makes one: an app that starts more than once in a
    process, as under a `TestClient` in each test, needs a new one each time.
    """

    @asynccontextmanager
    async def run(app: Any) -> AsyncIterator[dict[str, Any]]:
        managers: dict[str, ConnectionManager] = {}
        async with AsyncExitStack() as stack:
            for given in (manager, *others):
                each = given if isinstance(given, ConnectionManager) else given()
                if each.name in managers:
                    raise ValueError(f"two managers are named {each.name!r}; give each a name")
                _check_new(each)
                managers[each.name] = await stack.enter_async_context(each)
            state: Mapping[str, Any] | None = None
            if inner is not None:
                state = await stack.enter_async_context(inner(app))
            yield {**(state or {}), STATE: managers}

    return run


def _check_new(manager: ConnectionManager) -> None:
    if manager.snapshot().state == State.CLOSED.value:
        raise RuntimeError(
            f"{manager.name!r} was closed when the app stopped, and the app starts again; give"
            " lifespan() a function that makes one"
        )


def manager_of(request: HTTPConnection, name: str | None = None) -> ConnectionManager:
    """Return the manager that the app's lifespan has opened, the first or the one of that name.

    Raises `RuntimeError` when the lifespan was not run, `LookupError` when it has none so named.
    """
    managers: dict[str, ConnectionManager] | None = getattr(request.state, STATE, None)
    if managers is None:
        raise RuntimeError("the app was made without lifespan=lifespan(manager), or has not begun")
    if name is None:
        return next(iter(managers.values()))
    if name not in managers:
        raise LookupError(f"no manager is named {name!r}; there are {', '.join(managers)}")
    return managers[name]


def find(request: HTTPConnection, which: ConnectionManager | str | None) -> ConnectionManager:
    """Return a manager that was given itself, or by its name, or not at all: the app's first."""
    return which if isinstance(which, ConnectionManager) else manager_of(request, which)


def connection(
    request: HTTPConnection, timeout: float | None = None, *, name: str | None = None
) -> Checkout:
    """Lend a connection for an `async with` block, as the manager's method does."""
    return manager_of(request, name).connection(timeout)


def add_error_handlers(app: Starlette, *wrappers: type[Exception]) -> None:
    """Answer 503 with Retry-After where a request gets no connection, and log nothing as an error.

    That is for `PoolExhausted`, `TooManyRequests`, `NoHostAvailable` and `ManagerClosed`. A
    WebSocket is refused with that answer, or closed with code 1013 once it is accepted.

    *wrappers* are errors that one of these may be the cause of, such as
    `sqlalchemy.exc.OperationalError`; they go on unhandled when it is not.
    """
    handler: Any = _refuse  # for requests and WebSockets: Starlette's types know one or the other
    for kind in (*UNAVAILABLE_ERRORS, *wrappers):
        app.add_exception_handler(kind, handler)


async def _refuse(request: Request | WebSocket, error: Exception) -> Response | None:
    cause = unavailable_cause(error)
    if cause is None:
        raise error
    answer = unavailable_response(cause)
    response = Response(answer.body, answer.status_code, answer.headers)
    if isinstance(request, WebSocket):
        await _refuse_websocket(request, response)
        return None
    return response


async def _refuse_websocket(websocket: WebSocket, response: Response) -> None:
    begun = websocket.application_state is not WebSocketState.CONNECTING
    if begun or "websocket.http.response" not in websocket.scope.get("extensions", {}):
        await websocket.close(TRY_AGAIN_LATER)
    else:
        await websocket.send_denial_response(response)


def health_routes(
    manager: ConnectionManager | str | None = None, *, details: Permission = False
) -> list[Route]:
    """Return the routes `/livez` and `/readyz`, from memory: no round trip, no connection.

    `/livez` says whether to restart the program, and never depends on the database; `/readyz` says
    whether to send requests. Both answer 200 or 503, in the format that the request accepts.
    Hosts, figures and error texts are shown for `?details`, when *details* is true or a function of
    the request that returns so. *manager* may be the name of one of the lifespan's; without it, it
    is the first of these.
    """
    return [
        Route("/livez", health_endpoint(manager, "live", details), methods=["GET"]),
        Route("/readyz", health_endpoint(manager, "ready", details), methods=["GET"]),
    ]


def health_endpoint(
    manager: ConnectionManager | str | None, which: Check, details: Permission
) -> Callable[[Request], Awaitable[Response]]:
    """Return the handler of one health check."""

    async def endpoint(request: Request) -> Response:
        allowed = await is_allowed(details, request)
        answer = health_response(
            find(request, manager).snapshot(),
            request.headers.get("accept"),
            check=which,
            details=allowed and "details" in request.query_params,
        )
        return Response(answer.body, answer.status_code, answer.headers)

    return endpoint


def status_routes(
    manager: ConnectionManager | str | None = None, *, allow: Permission, path: str = "/status"
) -> list[Route]:
    """Return the routes of the status page: *path*, and *path*/stream for its updates.

    They show hosts, figures and error texts to whom *allow* lets in: a function of the request that
    returns so, or True for everybody who can reach the server. Others are answered 403. A function
    may raise, say, `HTTPException(401)` itself. *manager* is as in `health_routes()`; what is given
    itself is remembered from its opening on, for the chart, and else from the first view on.
    """
    page, stream = status_endpoints(manager, allow)
    return [
        Route(path, page, methods=["GET"]),
        Route(f"{path}/stream", stream, methods=["GET"]),
    ]


def status_endpoints(
    manager: ConnectionManager | str | None, allow: Permission
) -> tuple[Endpoint, Endpoint]:
    """Return the handlers of the status page and of its stream."""
    from ._statuspage import asgi  # noqa: PLC0415  who shows no page does without it

    pages = asgi.Pages(manager if isinstance(manager, ConnectionManager) else None)

    async def page(request: Request) -> Response:
        if not await is_allowed(allow, request):
            return asgi.forbidden()
        return asgi.whole(pages.of(find(request, manager)))

    async def stream(request: Request) -> Response:
        if not await is_allowed(allow, request):
            return asgi.forbidden()
        return asgi.EventStreamResponse(pages.of(find(request, manager)))

    return page, stream
