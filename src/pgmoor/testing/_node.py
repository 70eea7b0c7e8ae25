"""Knows what can be done to one server of a cluster, for code that runs on an event loop.

The work is in `member.py` and `server.py`; here each piece of it goes to a thread, so it may be
awaited on any event loop and blocks none.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

from psycopg.conninfo import make_conninfo

from ._member import START_TIMEOUT, STREAM_TIMEOUT, Member
from ._ports import LOOPBACK
from ._server import NodeState, StopMode


class Node:
    """One server of a `Cluster`, and the faults that can happen to it.

    Every method raises ClusterError, with the tail of the server's log, when what it promises
    doesn't come about.
    """

    def __init__(self, member: Member) -> None:
        self.member = member
        """Its blocking half."""
        self._server = member.server

    def __repr__(self) -> str:
        return f"<Node {self.name} port={self.port} {self.state.value}>"

    @property
    def name(self) -> str:
        """`n0`, `n1`, ...: also the server's cluster_name, and its standby's application_name."""
        return self._server.name

    @property
    def host(self) -> str:
        return LOOPBACK

    @property
    def port(self) -> int:
        return self._server.port

    @property
    def socket_dir(self) -> str:
        """The directory of the server's Unix socket, for libpq's `host`; it asks no password."""
        return str(self._server.home)

    @property
    def data_dir(self) -> Path:
        return self._server.data

    @property
    def log_file(self) -> Path:
        return self._server.log

    @property
    def pid(self) -> int | None:
        """The postmaster's process id; None while it isn't there."""
        return self._server.pid

    @property
    def state(self) -> NodeState:
        return self._server.state

    def conninfo(self, *, user: str = "postgres", dbname: str = "postgres", **params: Any) -> str:
        """Return a conninfo for this node alone, over TCP, with any further libpq parameters."""
        own = {"host": self.host, "port": self.port, "user": user, "dbname": dbname}
        return make_conninfo("", **{**own, **params})

    async def kill(self) -> None:
        """End all its processes at once with SIGKILL; return when the port refuses."""
        await self._fault(self._server.kill)

    async def freeze(self) -> None:
        """Stop all its processes with SIGSTOP: connections stay open and nobody answers."""
        await self._fault(self._server.freeze)

    async def thaw(self) -> None:
        """Let a frozen node go on where it stood."""
        await self._fault(self._server.thaw)

    async def stop(self, mode: StopMode = "fast", *, timeout: float = START_TIMEOUT) -> None:
        """Shut it down as `pg_ctl stop -m` does, thawed first; `timeout` is in seconds."""
        await self._fault(lambda: self._server.stop(mode, timeout))

    async def start(self, *, wait: bool = True, timeout: float = START_TIMEOUT) -> None:
        """Start it again, primary or standby as its data directory says.

        With `wait` it returns when connections are accepted. An old primary comes back as one,
        still writable on its old timeline.
        """
        await self._fault(lambda: self.member.start(timeout if wait else None))

    async def promote(self, *, wait: bool = True, timeout: float = START_TIMEOUT) -> None:
        """Make a standby primary, on a new timeline; with `wait` it returns when it takes writes.

        The other standbys go on following whom they followed: see `follow`.
        """
        await self._fault(lambda: self.member.promote(timeout if wait else None))

    async def demote(self) -> None:
        """Make it refuse writes with SQLSTATE 25006 by default, in new sessions and in old ones.

        It stays a primary in recovery's terms: `default_transaction_read_only` is what changes.
        """
        await self._fault(lambda: self.member.set_read_only("on"))

    async def undemote(self) -> None:
        """Take `demote` back."""
        await self._fault(lambda: self.member.set_read_only("off"))

    async def follow(self, primary: "Node", *, timeout: float = STREAM_TIMEOUT) -> None:
        """Make a running standby stream from another node; return when it does."""
        await self._fault(lambda: self.member.follow(primary.member, timeout))

    async def rejoin(self, primary: "Node", *, timeout: float = STREAM_TIMEOUT) -> None:
        """Make it a streaming standby of `primary`, whatever its state and however it diverged.

        Its own settings made with ALTER SYSTEM are lost, as is what it alone had committed.
        """
        await self._fault(lambda: self.member.rejoin(primary.member, timeout))

    async def sql(
        self, query: str, *params: object, dbname: str = "postgres"
    ) -> list[tuple[Any, ...]]:
        """Run one statement in a new autocommit connection and return its rows, if it has any.

        Connects as the superuser over the Unix socket. Raises psycopg's errors; a frozen node
        raises OperationalError after 5 s.
        """

        def run() -> list[tuple[Any, ...]]:
            with self.member.connect(dbname) as conn:
                # Bytes, because psycopg's types take no text but literals.
                cursor = conn.execute(query.encode(), params or None)
                return cursor.fetchall() if cursor.description else []

        return await asyncio.to_thread(run)

    async def wait_for(self, query: str, *, timeout: float = 10, dbname: str = "postgres") -> None:
        """Return when the query's first value is true; raise ClusterError after `timeout` seconds.

        A node that can't be reached yet, or any longer, is asked again.
        """
        await asyncio.to_thread(self.member.wait_for, query, timeout, dbname)

    async def _fault(self, work: Callable[[], None]) -> None:
        self.member.touched = True
        await asyncio.to_thread(work)
