"""The pools of all hosts: the one in use, one being filled, and retired ones still in use."""

from __future__ import annotations

from typing import TYPE_CHECKING
from weakref import WeakSet

from pgmoor._core.connection.abortable import BAD
from pgmoor._core.hosts.decision import Reason
from pgmoor._core.pool.host_pool import HostPool
from pgmoor.health import Status

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pgmoor._core.connection.managed import ManagedConnection
    from pgmoor._core.dialling.connector import Connectors
    from pgmoor._core.hosts.host import Host
    from pgmoor._core.hosts.table import HostTable
    from pgmoor._core.pool.callbacks import Callbacks
    from pgmoor._core.pool.ledger import Ledger
    from pgmoor._core.pool.lender import Lender
    from pgmoor._core.settings.sizes import Sizes
    from pgmoor._core.state.live import LiveState
    from pgmoor.instruments import Instrument


class HostPools:
    """Makes the pools, and remembers them until their last connection has come back."""

    def __init__(
        self,
        live: LiveState,
        connectors: Connectors,
        callbacks: Callbacks,
        *,
        ledger: Ledger,
        lender: Lender,
        dial_counter: Instrument,
    ) -> None:
        self.ledger = ledger
        self.retired = RetiredPools()
        self._live = live
        self._connectors = connectors
        self._callbacks = callbacks
        self._lender = lender
        self._dial_counter = dial_counter
        self._all: WeakSet[HostPool] = WeakSet()

    def make(self, host: Host) -> HostPool:
        """Return a new pool for a host, not open yet."""
        pool = HostPool(
            self._live,
            self._connectors.to(host),
            host,
            self._callbacks,
            ledger=self.ledger,
            lender=self._lender,
            dial_counter=self._dial_counter,
        )
        self._all.add(pool)
        return pool

    def resize(self, sizes: Sizes) -> None:
        """Change the limits of the pool in use, of one being filled, and of those to come."""
        self.ledger.resize(sizes)
        for pool in tuple(self._all):
            pool.resized()

    def cut_off(self, host: Host, reason: str) -> None:
        """Cut all connections to the server that was at *host*: they still lead to it.

        The dial that found this out adds its own connection to the pool only afterwards.
        """
        for pool in tuple(self._all):
            if pool.host.index == host.index:
                pool.cut(reason)
                if pool.retired_because is None:
                    pool.drain()


def lives(conn: ManagedConnection) -> bool:
    """Return whether a connection lives, as far as it shows without a round trip."""
    if conn.pgconn.status == BAD:
        return False
    return conn.lock.locked() or not conn.has_unread()


class RetiredPools:
    """The pools of hosts that were left, while connections of theirs are still held."""

    def __init__(self) -> None:
        self._pools: set[HostPool] = set()

    def __iter__(self) -> Iterator[HostPool]:
        return iter(tuple(self._pools))

    def retire(self, pool: HostPool, why: str, *, abort: bool) -> None:
        """Retire a pool; with *abort*, cut the connections that are held."""
        self._pools.add(pool)
        pool.retire(why, abort=abort)

    def cut(self, table: HostTable, *, serving: bool) -> None:
        """Cut what is still held on a host that has since turned out to be stale or dead."""
        for pool in self:
            state = table[pool.host.index]
            if not pool.size and not pool.tasks:
                self._pools.discard(pool)
            elif table.is_stale(state):
                pool.retire(Reason.STALE.value, abort=True)
            elif serving and state.status in (Status.SILENT, Status.DOWN):
                pool.retire("the manager left the host, which does not answer", abort=True)
