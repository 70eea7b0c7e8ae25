"""Asks one host who it is, over a connection of its own: a full pool is not a dead host."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

import anyio
from psycopg import errors, pq

from pgmoor._core.connection.abortable import BAD
from pgmoor._core.connection.identity import IdentityQuery
from pgmoor._core.dialling.connector import failure_of
from pgmoor._core.hosts.host import Observation

if TYPE_CHECKING:
    from pgmoor._core.connection.abortable import AbortableConnection
    from pgmoor._core.dialling.connector import Connector
    from pgmoor._core.hosts.host import Host, ServerInfo
    from pgmoor._core.settings.settings import Settings

IDLE = pq.TransactionStatus.IDLE


class Prober:
    """Keeps the probe connection to one host."""

    def __init__(
        self,
        settings: Settings,
        host: Host,
        connector: Connector,
        connection_class: type[AbortableConnection],
    ) -> None:
        self.host = host
        self.scope = anyio.CancelScope()  # of the task that uses it
        self._connector = connector
        self._class = connection_class
        self._settings = settings
        self._identity = IdentityQuery(settings.name, host)
        self._conn: AbortableConnection | None = None
        self._patience = settings.health_timeout  # seconds for a new connection
        self._dialled_at: float | None = None  # when the newest connection was made

    async def probe(self, max_age: float = float("inf"), *, renew: bool = False) -> Observation:
        """Ask over the present connection, or a new one when that is older than *max_age* seconds.

        With *renew* a new one is tried first, and the present one is kept if there is none. Return
        what was learnt, within about `health_timeout`; never raise psycopg's errors.
        """
        limit = self._settings.health_timeout
        before = self._conn
        if renew and before is not None:
            await self._renew(limit)
        asked_at = monotonic()
        if asked_at - (self._dialled_at or asked_at) > max_age:
            self.close()
        try:
            info = await self._ask(limit)
        except Exception as error:  # noqa: BLE001  whatever it is, the host could not be asked
            failure = failure_of(error, self._settings, limit)
            return Observation(self.host.index, asked_at, monotonic(), failure=failure)
        new = self._conn is not before
        return Observation(self.host.index, asked_at, monotonic(), info=info, new_session=new)

    async def _ask(self, limit: float) -> ServerInfo:
        if self._conn is not None:
            try:
                return await self._ask_over(self._conn, limit)
            except errors.Error:
                if self._conn is not None:
                    raise  # the session lives: this is an answer
                # The server may have ended only this session: a new one tells.
        self._conn = await self._dial(limit)
        return await self._ask_over(self._conn, limit)

    async def _dial(self, limit: float) -> AbortableConnection:
        """Connect within `health_timeout`, or more where that has never been enough.

        A connection takes several round trips, which add up over a long way with TLS.
        """
        began = monotonic()
        try:
            conn = await self._connector.connect(self._class, self._patience)
        except TimeoutError:
            if self._dialled_at is None:
                self._patience = min(self._patience * 2, self._settings.connect_timeout)
            raise
        self._dialled_at = monotonic()
        took = self._dialled_at - began
        self._patience = max(limit, min(3 * took, self._settings.connect_timeout))
        return conn

    async def _renew(self, limit: float) -> None:
        """Replace the connection by a new one if the server accepts that."""
        try:
            conn = await self._dial(limit)
        except Exception:  # noqa: BLE001  it accepts none: the present one tells the rest
            return
        self.close()
        self._conn = conn

    async def _ask_over(self, conn: AbortableConnection, limit: float) -> ServerInfo:
        try:
            return await self._identity.ask(conn, limit)
        except BaseException as error:
            answered = isinstance(error, errors.Error) and error.sqlstate is not None
            if not answered or conn.pgconn.transaction_status != IDLE:
                self.close()
            raise

    def close(self) -> None:
        """Close the probe's connection."""
        conn, self._conn = self._conn, None
        if conn is not None and conn.pgconn.status != BAD:
            conn.discard()
