"""An app with the status page and no database, for servers that run in their own process."""

from __future__ import annotations

from starlette.applications import Starlette

from pgmoor import ConnectionManager
from pgmoor.starlette import lifespan, status_routes

manager = ConnectionManager("host=127.0.0.1 port=1 user=nobody", name="orders")
app = Starlette(routes=status_routes(manager, allow=True), lifespan=lifespan(manager))
