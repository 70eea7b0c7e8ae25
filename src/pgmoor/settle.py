"""What becomes of a query whose task was cancelled: it is brought to its end, in bounded time."""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import TYPE_CHECKING, Any

import anyio
from psycopg import capabilities, errors, generators, pq, waiting

from .fuse import Fuse
from .logs import fields

if TYPE_CHECKING:
    from psycopg.abc import PQGen

    from .connection import ManagedConnection

logger = logging.getLogger("pgmoor.connection")

ACTIVE = pq.TransactionStatus.ACTIVE
BAD = pq.ConnStatus.BAD


async def settle(conn: ManagedConnection, gen: PQGen[Any]) -> None:
    """Bring a cancelled query to its end where further cancellation does not reach it.

    A connection without a `cancel_timeout` (a probe's, or one that is still being made) is dropped.

    anyio delivers a cancellation again on every turn of the loop, and psycopg takes the second
    one as an order to close the connection. So the work is done by a task of its own, and this
    one only waits; for `cancel_timeout` at most, after which the socket is cut.
    """
    if conn.cancel_timeout <= 0:
        conn.discard()
        return
    task = asyncio.create_task(_finish_cancelled(conn, gen), name="pgmoor-settle")
    with anyio.CancelScope(shield=True):
        while not task.done():
            try:
                await asyncio.wait([task])
            except asyncio.CancelledError:  # the caller raises the first one
                continue


async def _finish_cancelled(conn: ManagedConnection, gen: PQGen[Any]) -> None:
    try:
        with Fuse(conn, conn.cancel_timeout, "its server did not confirm a cancelled query"):
            request = asyncio.create_task(_request_cancel(conn), name="pgmoor-cancel")
            try:
                await _end(conn, gen)
            finally:
                if conn.pgconn.status == BAD:
                    request.cancel()  # a server that is gone, or frozen, need not be asked
                # A late request would hit the next query of a connection that lives.
                await asyncio.gather(request, return_exceptions=True)
    except Exception as error:  # noqa: BLE001  the status of the connection says the rest
        extra = _fields("SettleFailed", conn, error)
        logger.debug("settling a cancelled query: %s", type(error).__name__, extra=extra)
    finally:
        if conn.pgconn.transaction_status == ACTIVE:
            conn.discard()


async def _end(conn: ManagedConnection, gen: PQGen[Any]) -> None:
    try:
        await waiting.wait_async(gen, conn.pgconn.socket, interval=0.1)
    except errors.DatabaseError as error:  # QueryCanceled, as asked for, or the like
        extra = _fields("QueryCancelled", conn, error)
        logger.debug("cancelled query ended: %s", type(error).__name__, extra=extra)
    await _drain(conn)


def _fields(event: str, conn: ManagedConnection, error: Exception) -> dict[str, object]:
    return fields(event, conn.manager_name, host=conn.host_label, reason=type(error).__name__)


async def _drain(conn: ManagedConnection) -> None:
    """Read what a cancelled COPY or a query read row by row still has to say."""
    while conn.pgconn.transaction_status == ACTIVE:
        fd = conn.pgconn.socket
        result = await waiting.wait_async(generators.fetch(conn.pgconn), fd, interval=0.1)
        if result is None:
            return
        if result.status == pq.ExecStatus.COPY_OUT:
            while isinstance(
                await waiting.wait_async(generators.copy_from(conn.pgconn), fd, interval=0.1),
                memoryview,
            ):
                pass
        elif result.status == pq.ExecStatus.COPY_IN:
            conn.pgconn.put_copy_end(b"cancelled")


async def _request_cancel(conn: ManagedConnection) -> None:
    try:
        if capabilities.has_cancel_safe():
            await conn.cancel_safe(timeout=conn.cancel_timeout)
        else:
            await _request_cancel_in_thread(conn)
    except errors.Error as error:  # the query may end by itself before the fuse burns
        extra = _fields("CancelFailed", conn, error)
        logger.debug("cancel request failed: %s", type(error).__name__, extra=extra)


async def _request_cancel_in_thread(conn: ManagedConnection) -> None:
    """Do what libpq below 17 can only do blocking, and without a limit.

    A daemon thread rather than the loop's executor, which would be waited for at exit.
    """
    loop = asyncio.get_running_loop()
    done = asyncio.Event()

    def request() -> None:
        conn.cancel()
        loop.call_soon_threadsafe(done.set)

    threading.Thread(target=request, name="pgmoor-cancel", daemon=True).start()
    try:
        async with asyncio.timeout(conn.cancel_timeout):
            await done.wait()
    except TimeoutError as error:
        extra = _fields("CancelFailed", conn, error)
        logger.debug("cancel request not answered within %.1f s", conn.cancel_timeout, extra=extra)
