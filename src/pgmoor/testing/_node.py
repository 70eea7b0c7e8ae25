"""One server of a cluster, for code that runs on an event loop.

The work is in `_member.py` and `_server.py`. Here each call runs in a thread, so it can be awaited
on any event loop and blocks none.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from psycopg.conninfo import make_conninfo

from ._member import START_TIMEOUT, STREAM_TIMEOUT, Member
from ._ports import LOOPBACK

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ._server import NodeState, StopMode


class Node:
    """One server of a `Cluster`, and the faults that can happen to it.

    A method that fails raises ClusterError, with the end of the server's log. Every `timeout` is in
    seconds.
    """

    def __init__(self, member: Member) -> None:
        self.member = member
        """Its blocking counterpart."""
        self._server = member.server

    def __repr__(self) -> str:
        return f"<Node {self.name} port={self.port} {self.state.value}>"

    @property
    def name(self) -> str:
        """`n0`, `n1`, ...: also the server's cluster_name, and its standby's application_name."""
        return self._server.name

    @property
    def host(self) -> str:
        """The address that it listens on: 127.0.0.1."""
        return LOOPBACK

    @property
    def port(self) -> int:
        """The TCP port that it listens on; the same after a restart."""
        return self._server.port

    @property
    def socket_dir(self) -> str:
        """The directory of the server's Unix socket, for libpq's `host`; it needs no password."""
        return str(self._server.home)

    @property
    def data_dir(self) -> Path:
        """The server's data directory."""
        return self._server.data

    @property
    def log_file(self) -> Path:
        """The server's log; every start appends to it."""
        return self._server.log

    @property
    def pid(self) -> int | None:
        """The postmaster's process id; None while it isn't running."""
        return self._server.pid

    @property
    def state(self) -> NodeState:
        """Whether it is running, frozen, stopped or dead."""
        return self._server.state

    def conninfo(self, *, user: str = "postgres", dbname: str = "postgres", **params: Any) -> str:
        """Return a conninfo for this node alone, over TCP, with any further libpq parameters."""
        own = {"host": self.host, "port": self.port, "user": user, "dbname": dbname}
        return make_conninfo("", **{**own, **params})

    async def kill(self) -> None:
        """Send SIGKILL to all its processes; return when the port refuses connections."""
        await self._fault(self._server.kill)

    async def freeze(self) -> None:
        """Send SIGSTOP to all its processes: connections stay open and get no answers."""
        await self._fault(self._server.freeze)

    async def thaw(self) -> None:
        """Send SIGCONT to all processes of a frozen node."""
        await self._fault(self._server.thaw)

    async def stop(self, mode: StopMode = "fast", *, timeout: float = START_TIMEOUT) -> None:
        """Shut it down as `pg_ctl stop -m` does; a frozen node is thawed first."""
        await self._fault(lambda: self._server.stop(mode, timeout))

    async def start(self, *, wait: bool = True, timeout: float = START_TIMEOUT) -> None:
        """Start it in the role its data directory says.

        With *wait*, return when it accepts connections. An old primary is a primary again, writable
        on its old timeline.
        """
        await self._fault(lambda: self.member.start(timeout if wait else None))

    async def promote(self, *, wait: bool = True, timeout: float = START_TIMEOUT) -> None:
        """Make a standby primary, on a new timeline; with *wait*, return when it accepts writes.

        The other standbys still follow the old primary: see `follow()`.
        """
        await self._fault(lambda: self.member.promote(timeout if wait else None))

    async def demote(self) -> None:
        """Make it refuse writes with SQLSTATE 25006, in new sessions and in old ones.

        This sets `default_transaction_read_only`; the server stays a primary, not in recovery.
        """
        await self._fault(lambda: self.member.set_read_only("on"))

    async def undemote(self) -> None:
        """Make it accept writes again."""
        await self._fault(lambda: self.member.set_read_only("off"))

    async def follow(self, primary: Node, *, timeout: float = STREAM_TIMEOUT) -> None:
        """Make a running standby stream from another node; return when it does."""
        await self._fault(lambda: self.member.follow(primary.member, timeout))

    async def rejoin(self, primary: Node, *, timeout: float = STREAM_TIMEOUT) -> None:
        """Make it a streaming standby of *primary*, whatever its state and its timeline.

        It loses its settings made with ALTER SYSTEM, and commits that *primary* lacks.
        """
        await self._fault(lambda: self.member.rejoin(primary.member, timeout))

    async def sql(
        self, query: str, *params: object, dbname: str = "postgres"
    ) -> list[tuple[Any, ...]]:
        """Run one statement in a new autocommit connection and return its rows, if it has any.

        It connects as the superuser over the Unix socket. Raises psycopg's errors; for a frozen
        node, OperationalError after 5 s.
        """

        def run() -> list[tuple[Any, ...]]:
            with self.member.connect(dbname) as conn:
                # Bytes, because psycopg's type for text accepts literals only.
                cursor = conn.execute(query.encode(), params or None)
                return cursor.fetchall() if cursor.description else []

        return await asyncio.to_thread(run)

    async def wait_for(self, query: str, *, timeout: float = 10, dbname: str = "postgres") -> None:
        """Wait until the query's first value is true; raise ClusterError after *timeout* seconds.

        If it can't reach the node, it connects again.
        """
        await asyncio.to_thread(self.member.wait_for, query, timeout, dbname)

    async def _fault(self, work: Callable[[], None]) -> None:
        self.member.touched = True
        await asyncio.to_thread(work)


async def is_primary(node: Node) -> bool:
    """Return whether a running server is not in recovery."""
    return await node.sql("SELECT pg_is_in_recovery()") == [(False,)]
