"""pgmoor for Starlette: lifespan, connections, 503 responses, health routes and status page.

```python
manager = ConnectionManager("postgresql://app@db1,db2/orders")
app = Starlette(routes=[..., *health_routes(manager)], lifespan=lifespan(manager))
add_error_handlers(app)
```
"""

from __future__ import annotations

import inspect
import re
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

try:
    from starlette.requests import Request  # noqa: TC002  FastAPI reads the annotations
    from starlette.responses import Response
    from starlette.routing import Route
    from starlette.websockets import WebSocket, WebSocketState
except ImportError as _error:
    raise ImportError('pgmoor.starlette needs starlette: pip install "pgmoor[fastapi]"') from _error

from ._core.manager.given import require_manager, require_manager_or_name
from ._core.manager.manager import ConnectionManager
from .health import State
from .http import health_response, unavailable_cause, unavailable_response
from .http._permission import check_permission, is_allowed
from .http._unavailable import UNAVAILABLE_ERRORS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
    from contextlib import AbstractAsyncContextManager

    from starlette.applications import Starlette
    from starlette.requests import HTTPConnection

    from ._core.connection.managed import ManagedConnection
    from ._core.pool.checkout import Checkout
    from .http import Check
    from .http import Response as HttpResponse
    from .http._permission import Permission

    Lifespan = Callable[..., AbstractAsyncContextManager[Mapping[str, Any] | None]]
    Given = ConnectionManager[Any] | Callable[[], ConnectionManager[Any]]
    Endpoint = Callable[[Request], Awaitable[Response]]

__all__ = [
    "add_error_handlers",
    "connection",
    "health_routes",
    "lifespan",
    "manager_of",
    "status_routes",
]

STATE = "pgmoor"  # the key of a request's state: the app's managers by name, the first one first
TRY_AGAIN_LATER = 1013  # a WebSocket close code (IANA's registry)

# By the handler of a status page: begins its history, given the lifespan's managers by name.
_at_start: WeakKeyDictionary[Any, Callable[[Mapping[str, ConnectionManager[Any]]], None]] = (
    WeakKeyDictionary()
)


def lifespan(
    manager: Given, *others: Given, inner: Lifespan | None = None
) -> Callable[[Any], AbstractAsyncContextManager[dict[str, Any]]]:
    """Return a lifespan that opens the managers, then enters the app's own lifespan *inner*.

    *inner* gets the app and, if it takes more arguments, the managers in their order:
    `async def inner(app, manager)`. The managers close after it has ended. The app starts even if
    the database is down.

    `connection()` and FastAPI's `Connection` use the first manager by default, and others by name.

    If the app starts several times in one process, as with a `TestClient` in each test, pass a
    function that makes a new manager.

    Raises:
        ValueError: At the app's start: two managers have the same name.
        RuntimeError: At the app's start: a manager is closed, because the app has run before.
        TypeError: *manager* isn't a manager, or the function doesn't return one; or, at the app's
            start, *inner* takes other arguments.
    """
    for given in (manager, *others):
        if not callable(given):
            require_manager(given, "lifespan()")

    @asynccontextmanager
    async def run(app: Any) -> AsyncIterator[dict[str, Any]]:
        managers: dict[str, ConnectionManager[Any]] = {}
        async with AsyncExitStack() as stack:
            for given in (manager, *others):
                each = given if isinstance(given, ConnectionManager) else given()
                require_manager(each, "lifespan()")
                if each.name in managers:
                    raise ValueError(f"two managers are named {each.name!r}; rename one")
                _check_new(each)
                managers[each.name] = await stack.enter_async_context(each)
                for endpoint in _endpoints(getattr(app, "routes", ())):
                    if endpoint in _at_start:
                        _at_start[endpoint](managers)
            state: Mapping[str, Any] | None = None
            if inner is not None:
                arguments = _arguments_of(inner, app, tuple(managers.values()))
                state = await stack.enter_async_context(inner(*arguments))
            yield {**(state or {}), STATE: managers}

    return run


def _arguments_of(
    inner: Lifespan, app: Any, managers: tuple[ConnectionManager[Any], ...]
) -> tuple[Any, ...]:
    """Return what the inner lifespan takes: the app, or the app and the managers."""
    try:
        signature = inspect.signature(inner)
    except ValueError:  # it can't be told
        return (app,)
    for arguments in ((app,), (app, *managers)):
        try:
            signature.bind(*arguments)
        except TypeError:
            continue
        return arguments
    raise TypeError(
        "the inner lifespan takes the wrong arguments; let it take the app, or the app and its"
        f" managers ({len(managers)})"
    )


def _endpoints(routes: Iterable[Any]) -> Iterator[Any]:
    """Yield the handlers of all routes, those of mounted apps and routers included.

    FastAPI may keep a router that is included as it is, as `original_router`. A status page that is
    not found here begins its history with the first view.
    """
    for route in routes:
        router = getattr(route, "original_router", route)
        yield from _endpoints(getattr(router, "routes", None) or ())
        endpoint = getattr(route, "endpoint", None)
        if inspect.isfunction(endpoint):
            yield endpoint


def _check_new(manager: ConnectionManager[Any]) -> None:
    if manager.snapshot().state == State.CLOSED.value:
        raise RuntimeError(
            f"{manager.name!r} was closed when the app stopped, and can't be opened again; pass"
            " lifespan() a function that makes a new one"
        )


def manager_of(request: HTTPConnection, name: str | None = None) -> ConnectionManager[Any]:
    """Return a manager of the app's lifespan: the one named *name*, or the first.

    Raises:
        RuntimeError: The lifespan has not run.
        LookupError: The lifespan has no manager of that name.
    """
    managers: dict[str, ConnectionManager[Any]] | None = getattr(request.state, STATE, None)
    if managers is None:
        raise RuntimeError("the app has no lifespan=lifespan(manager), or has not started")
    if name is None:
        return next(iter(managers.values()))
    if name not in managers:
        # What was meant as a connection string would show a password.
        that = repr(name) if re.fullmatch(r"[\w .:-]{1,60}", name) else "that"
        raise LookupError(f"no manager is named {that}; the lifespan has {', '.join(managers)}")
    return managers[name]


def find(
    request: HTTPConnection, which: ConnectionManager[Any] | str | None
) -> ConnectionManager[Any]:
    """Return *which* if it is a manager, else the app's manager of that name, or its first."""
    return which if isinstance(which, ConnectionManager) else manager_of(request, which)


def connection(
    request: HTTPConnection, timeout: float | None = None, *, name: str | None = None
) -> Checkout[ManagedConnection]:
    """Check out a connection for an `async with` block; see `ConnectionManager.connection()`.

    *name* is that of one of the lifespan's managers (default: the first).
    """
    return manager_of(request, name).connection(timeout)


def add_error_handlers(app: Starlette, *wrappers: type[Exception]) -> None:
    """Respond with 503 and Retry-After if a request gets no connection; nothing is logged.

    The errors are `PoolExhausted`, `TooManyRequests`, `NoHostAvailable` and `ManagerClosed`. A
    WebSocket gets that response, or is closed with code 1013 if the app has accepted it.

    *wrappers* are errors that may have one of these as their cause, such as
    `sqlalchemy.exc.OperationalError`. With another cause they stay unhandled.
    """
    handler: Any = _handle  # it takes requests and WebSockets; Starlette's types have only one
    for kind in (*UNAVAILABLE_ERRORS, *wrappers):
        app.add_exception_handler(kind, handler)


async def _handle(request: Request | WebSocket, error: Exception) -> Response | None:
    cause = unavailable_cause(error)
    if cause is None:
        raise error
    response = _convert(unavailable_response(cause))
    if isinstance(request, WebSocket):
        await _reject(request, response)
        return None
    return response


def _convert(response: HttpResponse) -> Response:
    return Response(response.body, response.status_code, response.headers)


async def _reject(websocket: WebSocket, response: Response) -> None:
    accepted = websocket.application_state is not WebSocketState.CONNECTING
    if accepted or "websocket.http.response" not in websocket.scope.get("extensions", {}):
        await websocket.close(TRY_AGAIN_LATER)
    else:
        await websocket.send_denial_response(response)


def health_routes(
    manager: ConnectionManager[Any] | str | None = None, *, details: Permission[Request] = False
) -> list[Route]:
    """Return the routes `/livez` and `/readyz`.

    `/livez` says whether to restart the program, and never depends on the database; `/readyz` says
    whether to send requests. Both respond from memory with 200 or 503, in the format that the
    request accepts. `?details` adds hosts, figures and error texts if *details* is true, or is a
    function that returns true for the request.

    *manager* may also be the name of one of the lifespan's managers (default: the first).
    """
    return [
        Route("/livez", health_endpoint(manager, "live", details), methods=["GET"]),
        Route("/readyz", health_endpoint(manager, "ready", details), methods=["GET"]),
    ]


def health_endpoint(
    manager: ConnectionManager[Any] | str | None, check: Check, details: Permission[Request]
) -> Endpoint:
    """Return the handler of one health check."""
    require_manager_or_name(manager, "a health route")
    check_permission("details", details)

    async def endpoint(request: Request) -> Response:
        allowed = await is_allowed(details, request)
        response = health_response(
            find(request, manager).snapshot(),
            request.headers.get("accept"),
            check=check,
            details=allowed and "details" in request.query_params,
        )
        return _convert(response)

    return endpoint


def status_routes(
    manager: ConnectionManager[Any] | str | None = None,
    *,
    allow: Permission[Request],
    path: str = "/status",
) -> list[Route]:
    """Return the routes of the status page: *path*, and *path*/stream for its updates.

    The page shows hosts, figures and error texts. *allow* says who may see it: a function of the
    request that returns true or false, or True for everyone who can reach the server. Others get
    403. The function may also raise, for instance `HTTPException(401)`.

    *manager* is as in `health_routes()`. The chart and the events begin when the lifespan opens the
    manager, if the app has the routes by then; else with the first view.
    """
    page, stream = status_endpoints(manager, allow)
    return [
        Route(path, page, methods=["GET"]),
        Route(f"{path}/stream", stream, methods=["GET"]),
    ]


def status_endpoints(
    manager: ConnectionManager[Any] | str | None, allow: Permission[Request]
) -> tuple[Endpoint, Endpoint]:
    """Return the handlers of the status page and of its stream."""
    from ._statuspage import asgi  # noqa: PLC0415  only apps with a page need it

    require_manager_or_name(manager, "a status page")
    check_permission("allow", allow)
    pages = asgi.Pages(manager if isinstance(manager, ConnectionManager) else None)

    async def page(request: Request) -> Response:
        if not await is_allowed(allow, request):
            return asgi.forbidden()
        return asgi.document_response(pages.of(find(request, manager)))

    async def stream(request: Request) -> Response:
        if not await is_allowed(allow, request):
            return asgi.forbidden()
        return asgi.EventStreamResponse(pages.of(find(request, manager)))

    def begin(managers: Mapping[str, ConnectionManager[Any]]) -> None:
        name = next(iter(managers)) if manager is None else manager
        shown = managers.get(name) if isinstance(name, str) else name
        if shown is not None:  # else the page will say that there is none of that name
            pages.of(shown).begin()

    _at_start[page] = begin
    return page, stream
