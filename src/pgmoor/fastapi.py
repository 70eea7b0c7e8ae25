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

from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Depends
from starlette.requests import HTTPConnection  # noqa: TC002  FastAPI reads the annotations

from .connection import ManagedConnection
from .starlette import (
    add_error_handlers,
    connection,
    health_endpoint,
    lifespan,
    manager_of,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from .manager import ConnectionManager
    from .starlette import Permission

__all__ = ["Connection", "add_error_handlers", "connection", "health_router", "lend", "lifespan"]


async def _lend(request: HTTPConnection) -> AsyncIterator[ManagedConnection]:
    async with manager_of(request).connection() as conn:
        yield conn


# The scope "function" ends when the path operation returns and before the response is sent: a slow
# client does not hold a connection, and an answer that says "done" is sent after the commit.
Connection = Annotated[ManagedConnection, Depends(_lend, scope="function")]
"""A connection for a path operation: committed when it returns, rolled back when it raises, and
given back, in both cases, before the response is sent."""


def lend(manager: ConnectionManager, timeout: float | None = None) -> Any:
    """Return what `Connection` is, for a manager that is not the app's first one.

    `Reports = Annotated[ManagedConnection, lend(reports)]`
    """

    async def dependency() -> AsyncIterator[ManagedConnection]:
        async with manager.connection(timeout) as conn:
            yield conn

    return Depends(dependency, scope="function")


def health_router(
    manager: ConnectionManager,
    *,
    prefix: str = "",
    details: Permission = False,
    dependencies: Sequence[Any] = (),
) -> APIRouter:
    """Return a router with `/livez` and `/readyz`; see `pgmoor.starlette.health_routes`.

    They are not in the app's OpenAPI document. *dependencies* are FastAPI's, for authorisation.
    """
    router = APIRouter(
        prefix=prefix, dependencies=list(dependencies), include_in_schema=False, tags=["health"]
    )
    for path, which in (("/livez", "live"), ("/readyz", "ready")):
        endpoint: Callable[..., Any] = health_endpoint(
            manager, "live" if which == "live" else "ready", details
        )
        router.add_api_route(path, endpoint, methods=["GET"], response_model=None)
    return router
