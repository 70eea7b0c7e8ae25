"""What a connection knows of the pool that owns it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from psycopg import errors


class ConnectionOwner(Protocol):
    """The owner of connections to one host."""

    close_returns: bool  # whether `close()` of a held connection gives it back

    @property
    def host_label(self) -> str:
        """The host, as errors name it."""

    @property
    def manager_name(self) -> str:
        """The manager, as logs name it."""

    def forget(self, conn: Any) -> None:
        """Take a connection off the books, unless it is held: it is closed or about to be."""

    def aborted(self) -> None:
        """Note that a connection was cut."""

    def broke(self, conn: Any, error: errors.Error) -> None:
        """Note that a statement showed that something is wrong with the server."""

    async def putconn(self, conn: Any) -> None:
        """Take a connection back from its holder; close one that is not held."""
