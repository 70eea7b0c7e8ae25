"""pgmoor in aiohttp's server.

```python
app = web.Application()
setup(app, ConnectionManager("postgresql://app@db1,db2/orders"))

async def order(request):
    async with connection(request) as conn: ...
```
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aiohttp import web

from .http import health_response, unavailable_cause, unavailable_response
from .http._permission import is_allowed
from .manager import ConnectionManager

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from aiohttp.typedefs import Handler

    from .checkout import Checkout
    from .http import Check

    Permission = bool | Callable[[web.Request], bool | Awaitable[bool]]

__all__ = ["MANAGER", "add_status_page", "connection", "setup"]

MANAGER = web.AppKey("pgmoor", ConnectionManager)
"""Where the application has its manager: `app[MANAGER]`, in sub-applications
`request.config_dict[MANAGER]`."""


def setup(
    app: web.Application,
    manager: ConnectionManager,
    *,
    key: web.AppKey[ConnectionManager] = MANAGER,
    health: bool = True,
    prefix: str = "",
    details: Permission = False,
) -> None:
    """Open *manager* when the application starts, and close it when it ends.

    The application starts when the database is down. Requests that get no connection are answered
    503 with Retry-After. With *health* there are `/livez`, which never depends on the database, and
    `/readyz`, behind *prefix*; they show hosts, figures and error texts for `?details`, when
    *details* is true or a function of the request that returns so. Several managers need a *key*
    and a *prefix* each; `ValueError` without.
    """
    if key in app:
        raise ValueError("the application has a manager already; give this one a key of its own")
    paths = {resource.canonical for resource in app.router.resources()}
    if health and {f"{prefix}/livez", f"{prefix}/readyz"} & paths:
        raise ValueError("the health routes are there already; give these a prefix of their own")
    app[key] = manager

    async def run(_: web.Application) -> AsyncIterator[None]:
        async with manager:
            yield

    app.cleanup_ctx.append(run)
    if _answer_503 not in app.middlewares:
        app.middlewares.append(_answer_503)
    if health:
        app.router.add_get(f"{prefix}/livez", _handler(manager, "live", details))
        app.router.add_get(f"{prefix}/readyz", _handler(manager, "ready", details))


def connection(
    request: web.Request,
    timeout: float | None = None,
    *,
    key: web.AppKey[ConnectionManager] = MANAGER,
) -> Checkout:
    """Lend a connection for an `async with` block, as the manager's method does.

    Let the block end before the response is sent, or a slow client holds the connection.
    """
    manager: ConnectionManager = request.config_dict[key]
    return manager.connection(timeout)


@web.middleware
async def _answer_503(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except Exception as error:
        cause = unavailable_cause(error)
        begun = request.writer.output_size > 0  # another answer can't follow what has been sent
        if cause is None or begun:
            raise
        answer = unavailable_response(cause)
        return web.Response(body=answer.body, status=answer.status_code, headers=answer.headers)


def _handler(manager: ConnectionManager, which: Check, details: Permission) -> Any:
    async def endpoint(request: web.Request) -> web.Response:
        allowed = await is_allowed(details, request)
        answer = health_response(
            manager.snapshot(),
            request.headers.get("Accept"),
            check=which,
            details=allowed and "details" in request.query,
        )
        return web.Response(body=answer.body, status=answer.status_code, headers=answer.headers)

    return endpoint


def add_status_page(
    app: web.Application,
    manager: ConnectionManager,
    *,
    allow: Permission,
    path: str = "/status",
) -> None:
    """Serve the status page at *path*, and its updates at *path*/stream.

    They show hosts, figures and error texts to whom *allow* lets in: a function of the request that
    returns so, or True for everybody who can reach the server. Others are answered 403. A function
    may raise, say, `web.HTTPUnauthorized` itself.
    """
    from ._statuspage.aiohttp import endpoints  # noqa: PLC0415  who shows no page does without it

    page, stream, end_streams = endpoints(manager, lambda request: is_allowed(allow, request))
    app.router.add_get(path, page)
    app.router.add_get(f"{path}/stream", stream, allow_head=False)
    app.on_shutdown.append(end_streams)
