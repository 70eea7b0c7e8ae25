"""Payments in FastAPI that happen once, however often a client sends its request.

    python examples/idempotency.py

It starts two PostgreSQL servers. Send this as often as you like:

    curl -X POST -H 'Content-Type: application/json' -H 'Idempotency-Key: 4f1c' \
        -d '{"amount": 5}' 127.0.0.1:8000/payments

With DATABASE_URL it uses that database. It needs `pip install "pgmoor[fastapi,testing]" uvicorn`.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Annotated, Any

import uvicorn
from fastapi import APIRouter, FastAPI, Header
from pydantic import BaseModel

from pgmoor import AlreadyDone, ConnectionManager
from pgmoor.fastapi import Manager, add_error_handlers, lifespan

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SCHEMA = """
create table if not exists payments (
  number int generated always as identity, key text unique, amount int not null)
"""

router = APIRouter()
# With several users, put the user's name in front: one must not meet the payments of another.
Key = Annotated[str, Header(alias="Idempotency-Key", min_length=1, max_length=255)]


class Payment(BaseModel):
    """What a client asks for."""

    amount: int


class Receipt(BaseModel):
    """What it is answered."""

    number: int
    amount: int


async def pay(conn: Any, key: str, amount: int) -> Receipt:
    """Write the payment, and with it what a later request has to be answered."""
    insert = "insert into payments (key, amount) values (%s, %s) returning number"
    (number,) = await (await conn.execute(insert, [key, amount])).fetchone()
    return Receipt(number=number, amount=amount)


async def find(conn: Any, key: str) -> Receipt:
    select = "select number, amount from payments where key = %s"
    number, amount = await (await conn.execute(select, [key])).fetchone()
    return Receipt(number=number, amount=amount)


@router.post("/payments")
async def create(payment: Payment, key: Key, manager: Manager) -> Receipt:
    try:
        return await manager.run(pay, key, payment.amount, key=key)
    except AlreadyDone:
        return await manager.run(find, key, readonly=True)


def make_app(manager: ConnectionManager) -> FastAPI:
    @asynccontextmanager
    async def opened(app: FastAPI) -> AsyncIterator[Any]:
        async with lifespan(manager)(app) as state:
            await manager.install()
            async with manager.transaction() as conn:
                await conn.execute(SCHEMA)
            yield state

    app = FastAPI(title="Payments", lifespan=opened)
    app.include_router(router)
    add_error_handlers(app)
    return app


async def main() -> None:
    # uvicorn shuts down on SIGTERM and then raises it again. Exit, so that the servers stop, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    async with AsyncExitStack() as stack:
        conninfo = os.environ.get("DATABASE_URL")
        if conninfo is None:
            from pgmoor.testing import Cluster  # noqa: PLC0415  only tests and demos need it

            cluster = await stack.enter_async_context(Cluster(standbys=1, synchronous=True))
            conninfo = cluster.conninfo()
        app = make_app(ConnectionManager(conninfo, min_size=2, max_size=8, timeout=10))
        config = uvicorn.Config(app, port=int(os.environ.get("PORT", "8000")))
        await uvicorn.Server(config).serve()


if __name__ == "__main__":
    asyncio.run(main())
