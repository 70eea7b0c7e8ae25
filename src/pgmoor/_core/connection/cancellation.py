"""What happens to a query whose task is cancelled: it is brought to its end, in bounded time."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import anyio
from psycopg import capabilities, errors, generators, pq, waiting

from pgmoor._core.reporting.log_fields import fields
from pgmoor._core.util.asynctools import in_daemon_thread, spawn

from .abort_timer import abort_after
from .abortable import ACTIVE, BAD

if TYPE_CHECKING:
    from psycopg.abc import PQGen

    from .abortable import AbortableConnection

logger = logging.getLogger("pgmoor.connection")


async def finish_cancelled(conn: AbortableConnection, gen: PQGen[Any], timeout: float) -> None:
    """Have the server cancel the query, and read its last answer, within *timeout* seconds.

    Then the socket is cut. A task of its own does the work and this one only waits: anyio delivers
    a cancellation again on every turn of the loop, and psycopg takes the second one as an order to
    close the connection.
    """
    await _outlast(spawn(_finish(conn, gen, timeout), "pgmoor-cancel-query"))
    # The caller raises the first cancellation.


async def _outlast(task: asyncio.Task[None]) -> asyncio.CancelledError | None:
    """Wait for *task*, also while this one is cancelled; return the first cancellation, if any."""
    cancelled: asyncio.CancelledError | None = None
    with anyio.CancelScope(shield=True):
        while not task.done():
            try:
                await asyncio.wait([task])
            except asyncio.CancelledError as error:
                cancelled = cancelled or error
    if not task.cancelled():
        task.exception()  # the connection's status tells what is to be known of it
    return cancelled


async def _finish(conn: AbortableConnection, gen: PQGen[Any], timeout: float) -> None:
    try:
        late = f"the server did not confirm a cancelled query within {timeout:g} s (cancel_timeout)"
        with abort_after(conn, timeout, late):
            request = spawn(request_cancel(conn, timeout), "pgmoor-cancel")
            try:
                await _read_to_end(conn, gen)
            finally:
                await end_request(conn, request)
    except asyncio.CancelledError:  # `asyncio.run()` cancels every task at its end
        conn.discard()
        raise
    except Exception as error:  # noqa: BLE001  the connection's status tells the rest
        extra = _fields("SettleFailed", conn, error)
        logger.debug("ending a cancelled query failed: %s", type(error).__name__, extra=extra)
    finally:
        # A pipeline is at rest only when its block has ended; what that sends has a limit, too.
        ends_later = conn._pipeline is not None and conn.abort_reason is None  # noqa: SLF001
        if conn.pgconn.transaction_status == ACTIVE and not ends_later:
            conn.discard()


async def _read_to_end(conn: AbortableConnection, gen: PQGen[Any]) -> None:
    try:
        await waiting.wait_async(gen, conn.pgconn.socket, interval=0.1)
    except errors.DatabaseError as error:  # QueryCanceled, as requested, or the like
        extra = _fields("QueryCancelled", conn, error)
        logger.debug("a cancelled query ended: %s", type(error).__name__, extra=extra)
    if conn._pipeline is None:  # noqa: SLF001  psycopg has no other way to say so
        await _drain(conn)


def _fields(event: str, conn: AbortableConnection, error: Exception) -> dict[str, object]:
    return fields(event, conn.manager_name, host=conn.host_label, reason=type(error).__name__)


async def _drain(conn: AbortableConnection) -> None:
    """Read the rest of a cancelled COPY, or of a query that is read row by row."""
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


async def request_cancel(conn: AbortableConnection, timeout: float) -> None:
    """Ask the server to cancel what *conn* runs, within *timeout* seconds; raise nothing."""
    try:
        if capabilities.has_cancel_safe():
            await conn.cancel_safe(timeout=timeout)
        else:
            # libpq below 17 sends the request blocking, and without a limit.
            async with asyncio.timeout(timeout):
                await in_daemon_thread(conn.cancel, "pgmoor-cancel").result()
    except (errors.Error, TimeoutError) as error:  # the query may end by itself in time
        extra = _fields("CancelFailed", conn, error)
        logger.debug("cancel request failed: %s", type(error).__name__, extra=extra)


async def end_request(conn: AbortableConnection, request: asyncio.Task[None] | None) -> None:
    """Wait for a request, if any: a late one would hit the next query of a connection that lives.

    A server that is gone or frozen need not be asked. A task that is cancelled meanwhile waits on,
    and then ends so.
    """
    if request is None:
        return
    if conn.pgconn.status == BAD:
        request.cancel()
    if (cancelled := await _outlast(request)) is not None:
        raise cancelled
