"""A service as it runs in production: TLS, a secret, alerts, metrics and health probes.

    DB_HOSTS=db1,db2 DB_CA=/etc/db/ca.pem DB_PASSWORD_FILE=/run/secrets/db \
    PGMOOR_ALERTS="mailtos://user:password@smtp.example.com?to=oncall@example.com" \
        uvicorn production:app --timeout-graceful-shutdown 20

Metrics are on a port of their own, METRICS_PORT or 9187: http://127.0.0.1:9187/metrics

It needs `pip install "pgmoor[alerts,binary,fastapi,prometheus]" uvicorn`.
"""

from __future__ import annotations

import asyncio
import logging
import os
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from fastapi import FastAPI, HTTPException
from prometheus_client import REGISTRY, start_http_server

from pgmoor import ConnectionManager
from pgmoor.fastapi import Connection, add_error_handlers, health_router, lifespan
from pgmoor.prometheus import Collector

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

logging.basicConfig(level=logging.INFO)


def password() -> str:
    """Read the mounted secret. It is read again for new connections, so it may be rotated."""
    return Path(os.environ["DB_PASSWORD_FILE"]).read_text(encoding="utf-8").strip()


manager = ConnectionManager(
    hosts=os.environ["DB_HOSTS"].split(","),
    target="primary",
    password=password,
    kwargs={
        "user": "app",
        "dbname": "orders",
        "sslmode": "verify-full",
        "sslrootcert": os.environ["DB_CA"],
        "options": "-c statement_timeout=10s -c idle_in_transaction_session_timeout=30s",
    },
    name="orders",  # in logs, alerts and metrics
    min_size=2,
    max_size=10,
    timeout=5,  # less than your clients wait
    max_waiting=100,  # one more gets 503 at once
    held_warning=30,
    alerts=os.environ.get("PGMOOR_ALERTS", "").split() or None,
)
REGISTRY.register(Collector(manager))


@asynccontextmanager
async def metrics(_: FastAPI) -> AsyncIterator[None]:
    """Serve the metrics to Prometheus while the app runs."""
    server, thread = start_http_server(int(os.environ.get("METRICS_PORT", "9187")))
    yield
    await asyncio.to_thread(server.shutdown)
    server.server_close()
    thread.join()


app = FastAPI(lifespan=lifespan(manager, inner=metrics))
app.include_router(health_router(manager))  # /livez and /readyz
add_error_handlers(app)  # 503 with Retry-After while there is no connection


@app.get("/orders/{number}")
async def order(number: int, conn: Connection) -> dict[str, object]:
    cursor = await conn.execute("select status from orders where number = %s", [number])
    row = await cursor.fetchone()
    if row is None:
        raise HTTPException(404, "no such order")
    return {"number": number, "status": row[0]}
