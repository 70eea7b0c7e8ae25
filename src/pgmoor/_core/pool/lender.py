"""What a host's pool knows of the queue that lends its connections."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from pgmoor._core.connection.managed import ManagedConnection


class Lender(Protocol):
    """The one who lends the connections of every host's pool."""

    @property
    def pausing(self) -> bool:
        """Whether nothing is lent at this moment, however much is ready."""

    def waiting_for(self, pool: object) -> int:
        """Return how many callers wait for a connection of *pool*."""

    def callers_so_far(self) -> int:
        """Return how many callers have had to wait so far."""

    def place(self, conn: ManagedConnection) -> None:
        """Hand a connection that was taken but not lent to a caller, or put it back."""

    def feed(self) -> None:
        """Hand what is ready to those who wait, and have made what is missing."""

    def lost(self, count: int) -> None:
        """Count idle connections that turned out to be broken."""

    def pause(self, because: str) -> None:
        """Lend none until the host in use has answered, for a moment at most."""

    async def acquire(self, timeout: float | None) -> ManagedConnection:
        """Return a connection that works, within *timeout* seconds."""

    async def release(self, conn: ManagedConnection) -> None:
        """Take a connection back from its holder."""
