"""Statements of our own, with a limit on the time and on the size of the answer.

A server that sends without end would fill the memory for as long as somebody reads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from psycopg import errors, generators, pq
from psycopg.waiting import Wait

from .abort_timer import abort_after
from .abortable import BAD
from .polling import bytes_waiting

if TYPE_CHECKING:
    from collections.abc import Callable

    from psycopg.abc import PQGen
    from psycopg.pq.abc import PGconn, PGresult

    from .abortable import AbortableConnection

# An honest answer has less than 1000 bytes. Notifications that arrived since the connection was
# last used come before it.
MAX_BYTES = 4 * 1024 * 1024
MAX_RESULTS = 3
COPY = frozenset({pq.ExecStatus.COPY_IN, pq.ExecStatus.COPY_OUT, pq.ExecStatus.COPY_BOTH})
FATAL = pq.ExecStatus.FATAL_ERROR


class MalformedAnswer(errors.OperationalError):
    """What the server sent is no answer to the question."""


async def query(
    conn: AbortableConnection,
    statement: bytes,
    timeout: float,
    reason: str,
    goes_on: Callable[[], bool] | None = None,
) -> list[PGresult]:
    """Send a statement outside any transaction, and return its results.

    While *goes_on* returns True after *timeout* seconds, the statement gets its time once more.

    Raises `TimeoutError` with *reason* after *timeout* seconds, when a timer cuts the connection;
    `MalformedAnswer`, with the connection dropped; or psycopg's error when the server reports one,
    or when another task uses the connection.
    """
    if conn.lock.locked():  # to wait for it would have no end
        raise errors.OperationalError("another task uses the connection")
    timer = abort_after(conn, timeout, reason, goes_on)
    try:
        with timer:
            async with conn.lock:
                conn.pgconn.send_query(statement)
                results: list[PGresult] = await conn.wait(read_answer(conn.pgconn))
    except MalformedAnswer:
        conn.discard()  # more of it may be on the way
        raise
    except errors.Error:
        if timer.expired:
            raise TimeoutError(reason) from None
        raise
    for result in results:
        if result.status == FATAL:
            raise errors.error_from_result(result, encoding=conn.info.encoding)
    return results


async def exchange(conn: AbortableConnection, statements: bytes) -> list[PGresult]:
    """Send statements and return their results, of which the last may be an error of the server.

    Raises psycopg's error when the connection is lost. For statements around a program's own, on
    its connection: their size has no limit, as that of the program's has none. Bound the time by
    a timer, or by cancelling the task.
    """
    async with conn.lock:
        conn.pgconn.send_query(statements)
        results: list[PGresult] = await conn.wait(generators.execute(conn.pgconn))
    if not results or conn.pgconn.status == BAD:  # perhaps its farewell was the answer
        if results and results[-1].status == FATAL:
            raise failure(conn, results[-1])
        raise errors.OperationalError(f"the connection to {conn.host_label} was lost")
    return results


def failure(conn: AbortableConnection, result: PGresult) -> errors.Error:
    """Return the error of a server that `exchange()` has brought; its connection has met it."""
    error = errors.error_from_result(result, encoding=conn.info.encoding)
    conn._met(error)  # noqa: SLF001  as its own statements do
    return error


async def ping(conn: AbortableConnection, timeout: float) -> None:
    """Make one round trip; raise within *timeout* seconds when there is no answer."""
    await query(conn, b"", timeout, f"no answer to a ping within {timeout:g} s")


def read_answer(pgconn: PGconn) -> PQGen[list[PGresult]]:
    """Return the results of the query that was sent; raise `MalformedAnswer` if there is no end.

    One of psycopg's generators, to be run by `wait()`. After `MalformedAnswer` the connection can't
    be used any more.
    """
    yield from generators.send(pgconn)
    results: list[PGresult] = []
    received = 0
    while True:
        while pgconn.is_busy():
            while not (yield Wait.R):
                pass
            received += bytes_waiting(pgconn.socket)
            if received > MAX_BYTES:
                raise MalformedAnswer("its answer has no end")
            pgconn.consume_input()
        while pgconn.notifies():
            pass
        result = pgconn.get_result()
        if result is None:
            return results
        if result.status in COPY or len(results) == MAX_RESULTS:
            raise MalformedAnswer("its answer does not fit the question")
        results.append(result)
