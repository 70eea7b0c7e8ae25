"""`connection()`: lends one connection for one block."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic

from psycopg_pool.abc import ACT

if TYPE_CHECKING:
    from types import TracebackType

    from pgmoor._core.connection.managed import ManagedConnection

    from .lender import Lender

IDLE = 0  # pq.TransactionStatus.IDLE; comparing with the enum's member costs more than the rest


class Checkout(Generic[ACT]):
    """Lends one connection for one `async with` block."""

    __slots__ = ("_conn", "_entered", "_lease", "_queue", "_timeout")

    def __init__(self, queue: Lender, timeout: float | None) -> None:
        self._queue = queue
        self._timeout = timeout
        self._entered = False

    async def __aenter__(self) -> ACT:
        if self._entered:
            raise RuntimeError("connection() lends one connection; call it again for each block")
        self._entered = True
        conn = self._conn = await self._queue.acquire(self._timeout)
        self._lease = conn.lease
        return conn  # type: ignore[return-value]  # it derives from the connection class

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        conn = self._conn
        if conn.holder is None or conn.lease != self._lease:
            return  # the block has given it back already, and perhaps another has it now
        closed = conn.closed and not conn.lost_unsaid  # by the block, or it has met the error
        if exc_type is not None or conn.pgconn.transaction_status == IDLE or closed:
            await self._queue.release(conn)
            return
        try:
            if conn.is_held_open:
                await conn.unlocked()
                if not self._holds(conn):
                    return
            await conn.commit()
        finally:
            if self._holds(conn):  # still
                await self._queue.release(conn)

    def _holds(self, conn: ManagedConnection) -> bool:
        return conn.holder is not None and conn.lease == self._lease
