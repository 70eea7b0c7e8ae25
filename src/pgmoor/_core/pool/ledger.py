"""All connections of a manager, on every host: one account that figures and limits are read from.

A connection is in it from being made until it is closed; one that a caller holds until it comes
back.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

from pgmoor.health import Holder, PoolFigures

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pgmoor._core.connection.managed import ManagedConnection
    from pgmoor._core.settings.sizes import Sizes


class Ledger:
    """Counts connections, and says how many may be lent."""

    def __init__(self, sizes: Sizes) -> None:
        self.sizes: Sizes = sizes
        self.most: int = sizes.most  # as in `sizes`, where it is computed; every return asks
        self.kept: int = sizes.kept
        self.connections: set[ManagedConnection] = set()
        self.held: int = 0  # by callers, on every host
        # One is lent while `held` is below this. Connections that were cut because their host was
        # left don't count against it: the server has no session of theirs any more.
        self.limit: int = sizes.most
        self._paused = False
        self._left: set[ManagedConnection] = set()  # open ones, held on hosts that were left
        self._cut: set[ManagedConnection] = set()  # held ones that were cut there

    def resize(self, sizes: Sizes) -> None:
        """Change the limits."""
        self.sizes, self.most, self.kept = sizes, sizes.most, sizes.kept
        self._set_limit()

    def pause(self, *, paused: bool) -> None:
        """Lend none while *paused*, however few are held."""
        self._paused = paused
        self._set_limit()

    @property
    def held_elsewhere(self) -> int:
        """How many open connections are held on hosts that were left."""
        return len(self._left)

    def of(self, pool: object) -> set[ManagedConnection]:
        """Return the connections of one pool."""
        return {conn for conn in self.connections if conn.owner is pool}

    def holders(self) -> Iterator[ManagedConnection]:
        """Yield the connections that are held, on every host."""
        return (conn for conn in tuple(self.connections) if conn.holder is not None)

    def longest_holders(self, most: int = 3) -> tuple[Holder, ...]:
        """Return who has held connections longest."""
        now = monotonic()
        held = sorted(self.holders(), key=lambda conn: conn.held_since)
        return tuple(
            Holder(conn.holder.get_name() if conn.holder else "no task", now - conn.held_since)
            for conn in held[:most]
        )

    def figures(self, waiting: int) -> PoolFigures:
        """Return the figures as they are now, with so many callers *waiting*."""
        sizes, used = self.sizes, self.held
        size = max(len(self.connections), used)
        return PoolFigures(
            size=size,
            used=used,
            idle=size - used,
            waiting=waiting,
            min_size=sizes.min_size,
            max_size=sizes.max_size,
            max_overflow=sizes.max_overflow,
            kept=sizes.kept,
        )

    def left(self, pool: object) -> None:
        """Note that the host of *pool* was left: what is held there is the rest of its use."""
        held = {conn for conn in self.of(pool) if conn.holder is not None}
        self._left |= held
        for conn in held:
            if conn.abort_reason is not None:
                self.cut(conn)

    def cut(self, conn: ManagedConnection) -> None:
        """Note that a connection was cut; one on a host that was left makes room for another."""
        if conn in self._left:
            self._left.discard(conn)
            self._cut.add(conn)
            self._set_limit()

    def returned(self, conn: ManagedConnection) -> None:
        """Count a connection that is not lent on as held no longer."""
        self.held -= 1
        self._left.discard(conn)
        if conn in self._cut:
            self._cut.discard(conn)
            self._set_limit()

    def remove(self, conn: ManagedConnection) -> bool:
        """Remove a closed connection, unless it is held; return whether it was there."""
        if conn.holder is not None or conn not in self.connections:
            return False
        self.connections.discard(conn)
        return True

    def _set_limit(self) -> None:
        self.limit = 0 if self._paused else self.sizes.most + len(self._cut)
