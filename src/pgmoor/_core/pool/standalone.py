"""Connections to a host in use that no pool keeps, such as one on which a library listens.

They don't count against the pool's limits. They are cut when their host is left, whatever the
reason: who listens must not go on listening there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from weakref import WeakSet

from pgmoor._core.connection.abortable import BAD
from pgmoor._core.dialling.dialler import HostLeft

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgmoor._core.connection.managed import ManagedConnection
    from pgmoor._core.connection.owner import ConnectionOwner
    from pgmoor._core.dialling.dialler import Dialler

    MakeDialler = Callable[[type[ManagedConnection], bool], Dialler[ManagedConnection]]


class StandaloneConnections:
    """The connections beside one host's pool, and the dials for them."""

    def __init__(self, make_dialler: MakeDialler, cancel_timeout: float) -> None:
        self._make_dialler = make_dialler
        self._cancel_timeout = cancel_timeout
        self._diallers: set[Dialler[ManagedConnection]] = set()
        self._connections: WeakSet[ManagedConnection] = WeakSet()
        self._left = False

    @property
    def in_use(self) -> bool:
        """Whether any of them lives or is being made."""
        living = any(conn.pgconn.status != BAD for conn in tuple(self._connections))
        return living or bool(self._diallers)

    async def dial(
        self,
        owner: ConnectionOwner,
        connection_class: type[ManagedConnection],
        *,
        own_login: bool = False,
    ) -> ManagedConnection:
        """Return a new connection, however long that takes; raise `HostLeft` once that is so.

        With a login of its own, raise `ConnectFailed` if that is refused.
        """
        dialler = self._make_dialler(connection_class, own_login)
        if self._left:
            raise HostLeft(f"the manager left {owner.host_label}")
        self._diallers.add(dialler)
        try:
            conn = await dialler.dial()
        finally:
            self._diallers.discard(dialler)
        conn.owner = owner
        conn.cancel_timeout = self._cancel_timeout
        self._connections.add(conn)
        return conn

    def cut(self, reason: str) -> None:
        """Cut all connections."""
        for conn in tuple(self._connections):
            conn.abort(reason)

    def retire(self, reason: str) -> None:
        """Cut all connections, and end all dials: the host was left."""
        self._left = True
        for dialler in tuple(self._diallers):
            dialler.retire()
        self.cut(reason)
