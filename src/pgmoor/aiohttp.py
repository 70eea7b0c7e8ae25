"""pgmoor for aiohttp's server: setup, connections, 503 responses, health routes, status page.

```python
app = web.Application()
setup(app, ConnectionManager("postgresql://app@db1,db2/orders"))

async def order(request):
    async with connection(request) as conn: ...
```
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

try:
    from aiohttp import web
except ImportError as _error:
    raise ImportError('pgmoor.aiohttp needs aiohttp: pip install "pgmoor[aiohttp]"') from _error

from ._core.manager.given import require_manager
from ._core.manager.manager import ConnectionManager
from .http import health_response, unavailable_cause, unavailable_response
from .http._permission import check_permission, is_allowed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiohttp.typedefs import Handler

    from ._core.connection.managed import ManagedConnection
    from ._core.pool.checkout import Checkout
    from .http import Check, Response
    from .http._permission import Permission

__all__ = ["MANAGER", "add_status_page", "connection", "setup"]

MANAGER: web.AppKey[ConnectionManager[Any]] = web.AppKey("pgmoor", ConnectionManager)
"""The key of the application's manager: `app[MANAGER]`, or `request.config_dict[MANAGER]` in
sub-applications."""


def setup(
    app: web.Application,
    manager: ConnectionManager[Any],
    *,
    key: web.AppKey[ConnectionManager[Any]] = MANAGER,
    health: bool = True,
    prefix: str = "",
    details: Permission[web.Request] = False,
) -> None:
    """Open *manager* when the application starts, and close it when the application ends.

    The application starts even if the database is down. Requests that get no connection get 503
    with Retry-After.

    *health* adds two routes, with *prefix* before each. `/livez` says whether to restart the
    program, and never depends on the database; `/readyz` says whether to send requests. `?details`
    adds hosts, figures and error texts if *details* is true, or is a function that returns true for
    the request.

    For several managers, give each its own *key* and *prefix*.

    Raises:
        ValueError: The application already has a manager with this key, or routes with these paths.
        TypeError: *manager* isn't a `ConnectionManager`, or *details* can't be used.
    """
    require_manager(manager, "setup()")
    check_permission("details", details)
    if key in app:
        raise ValueError("the application already has a manager; give this one its own key")
    paths = {resource.canonical for resource in app.router.resources()}
    if health and {f"{prefix}/livez", f"{prefix}/readyz"} & paths:
        raise ValueError("the health routes already exist; give these their own prefix")
    app[key] = manager

    async def run(_: web.Application) -> AsyncIterator[None]:
        async with manager:
            yield

    app.cleanup_ctx.append(run)
    if _respond_503 not in app.middlewares:
        app.middlewares.append(_respond_503)
    if health:
        app.router.add_get(f"{prefix}/livez", _handler(manager, "live", details))
        app.router.add_get(f"{prefix}/readyz", _handler(manager, "ready", details))


def connection(
    request: web.Request,
    timeout: float | None = None,
    *,
    key: web.AppKey[ConnectionManager[Any]] = MANAGER,
) -> Checkout[ManagedConnection]:
    """Check out a connection for an `async with` block; see `ConnectionManager.connection()`.

    End the block before the response is sent, or a slow client holds the connection.
    """
    manager: ConnectionManager[Any] | None = request.config_dict.get(key)
    if manager is None:
        raise RuntimeError("the application has no setup(app, manager), or none with this key")
    return manager.connection(timeout)


@web.middleware
async def _respond_503(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except Exception as error:
        cause = unavailable_cause(error)
        begun = request.writer.output_size > 0  # a second response can't follow the first
        if cause is None or begun:
            raise
        return _convert(unavailable_response(cause))


def _convert(response: Response) -> web.Response:
    return web.Response(body=response.body, status=response.status_code, headers=response.headers)


def _handler(
    manager: ConnectionManager[Any], check: Check, details: Permission[web.Request]
) -> Handler:
    async def endpoint(request: web.Request) -> web.StreamResponse:
        allowed = await is_allowed(details, request)
        response = health_response(
            manager.snapshot(),
            request.headers.get("Accept"),
            check=check,
            details=allowed and "details" in request.query,
        )
        return _convert(response)

    return endpoint


def add_status_page(
    app: web.Application,
    manager: ConnectionManager[Any],
    *,
    allow: Permission[web.Request],
    path: str = "/status",
) -> None:
    """Serve the status page at *path*, and its updates at *path*/stream.

    The page shows hosts, figures and error texts. *allow* says who may see it: a function of the
    request that returns true or false, or True for everyone who can reach the server. Others get
    403. The function may also raise, for instance `web.HTTPUnauthorized`.
    """
    from ._statuspage.aiohttp import endpoints  # noqa: PLC0415  only apps with a page need it

    require_manager(manager, "add_status_page()")
    check_permission("allow", allow)
    page, stream, begin, end_streams = endpoints(manager, allow)
    app.router.add_get(path, page)
    app.router.add_get(f"{path}/stream", stream, allow_head=False)
    app.on_startup.append(begin)
    app.on_shutdown.append(end_streams)
