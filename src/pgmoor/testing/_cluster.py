"""`Cluster`: a primary and its standbys: made on disk, started together, reset, removed.

What happens to one of them is in `_node.py`.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import shutil
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Literal, Self

import psycopg
from psycopg.conninfo import make_conninfo

from ._binaries import Binaries, ClusterError, find_binaries
from ._folders import make_directory, temporary_directory
from ._member import START_TIMEOUT, Member
from ._node import Node, is_primary
from ._ports import free_port
from ._server import NodeState, Server
from ._snapshot import Snapshot
from ._watcher import Watcher

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

Auth = Literal["trust", "scram-sha-256", "md5", "reject"]

# Starts and notices faults quickly, and can be rewound. Nothing is safe from a power cut.
SETTINGS: Mapping[str, str] = {
    "fsync": "off",
    "full_page_writes": "on",
    "wal_log_hints": "on",
    "wal_level": "replica",
    "wal_keep_size": "128MB",
    "max_wal_size": "256MB",
    "max_wal_senders": "10",
    "max_connections": "50",
    "shared_buffers": "16MB",
    "hot_standby": "on",
    "wal_receiver_timeout": "2s",
    "wal_retrieve_retry_interval": "100ms",
    "wal_receiver_status_interval": "1s",
    "autovacuum": "off",
    "checkpoint_timeout": "1h",
    "max_logical_replication_workers": "0",
    "jit": "off",
    "logging_collector": "off",
    "log_line_prefix": "%m [%p] ",
    # In files of the data directory: a killed server leaves no shared memory in /dev/shm.
    "dynamic_shared_memory_type": "mmap",
}


class Cluster:
    """A PostgreSQL primary and its streaming standbys, in temporary directories on this machine.

    You can open it in one event loop, and use and close it in others.

    Args:
        standbys: Number of standbys.
        version: 18 or 16, of the bundled servers.
        synchronous: Whether each commit waits for any one standby.
        settings: Added to each postgresql.conf.
        auth: pg_hba.conf's method for TCP. Unix sockets need no password.
        bindir: The directory of PostgreSQL's programs. Default: PGMOOR_PG_BIN of the environment,
            else the bundled servers, else the system's.
        run_as: The user that runs the servers if you are root (default: `postgres` or `nobody`).
    """

    def __init__(
        self,
        standbys: int = 1,
        *,
        version: int = 18,
        synchronous: bool = False,
        settings: Mapping[str, object] | None = None,
        auth: Auth = "trust",
        bindir: str | os.PathLike[str] | None = None,
        run_as: str | None = None,
    ) -> None:
        self._count = 1 + standbys
        self._version = version
        self._auth = auth
        self._bindir = bindir
        self._run_as = run_as
        waiting = {"synchronous_standby_names": "ANY 1 (*)"} if synchronous else {}
        self._settings = {**SETTINGS, **waiting, **(settings or {})}
        self._root: Path | None = None
        self._watcher: Watcher | None = None
        self._owner = os.getpid()
        self._lock = threading.Lock()
        self._members: tuple[Member, ...] = ()
        self.nodes: tuple[Node, ...] = ()
        """The servers; the first starts as the primary."""

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def __getitem__(self, index: int) -> Node:
        return self.nodes[index]

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Node]:
        return iter(self.nodes)

    def conninfo(
        self, *indexes: int, user: str = "postgres", dbname: str = "postgres", **params: Any
    ) -> str:
        """Return a conninfo that lists these nodes in this order, or all of them."""
        if not self.nodes:
            raise ClusterError("the cluster is not open; use 'async with' or open()")
        chosen = [self.nodes[index] for index in indexes] or self.nodes
        hosts = {
            "host": ",".join(node.host for node in chosen),
            "port": ",".join(str(node.port) for node in chosen),
        }
        return make_conninfo("", **{**hosts, "user": user, "dbname": dbname, **params})

    async def open(self) -> None:
        """Create the data directories and start every server; return when all standbys stream.

        Raises ClusterError if it finds no PostgreSQL, or a server doesn't start.
        """
        if self._root is not None:
            raise ClusterError("the cluster is open already")
        try:
            await asyncio.to_thread(self._open)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """End every process and remove every file, whatever state they are in."""
        await asyncio.to_thread(self._close)

    async def wait_streaming(self, timeout: float = 10) -> None:
        """Wait until every running standby streams; raise ClusterError after *timeout* seconds."""
        await asyncio.to_thread(self._wait_streaming, timeout)

    async def follow(self, primary: Node) -> None:
        """Make every other running standby stream from *primary*."""
        others = [node for node in self.nodes if node is not primary]
        running = [node for node in others if node.state is NodeState.RUNNING]
        standbys = [node for node in running if not await is_primary(node)]
        await asyncio.gather(*(node.follow(primary) for node in standbys))

    async def reset(self, *, force: bool = False) -> None:
        """Restore contents, settings, roles and timelines as they were after `open()`.

        If every node runs, and you only ran SQL on them, it returns at once and keeps the contents;
        with *force* it resets them, too.
        """
        touched = any(
            member.touched or member.server.state is not NodeState.RUNNING
            for member in self._members
        )
        if force or touched:
            await asyncio.to_thread(self._reset)

    def _open(self) -> None:
        with self._lock:
            binaries = find_binaries(self._version, self._bindir, self._run_as)
            self._owner = os.getpid()
            self._root = root = temporary_directory(binaries)
            self._watcher = Watcher(root)
            atexit.register(self._close)
            self._snapshot = self._initialise(binaries, root)
            self._members = tuple(
                _make_member(root, index, binaries) for index in range(self._count)
            )
            self.nodes = tuple(Node(member) for member in self._members)
            self._bring_up()

    def _initialise(self, binaries: Binaries, root: Path) -> Snapshot:
        """Make the data directory that every node starts from a copy of."""
        template = make_directory(root / "template", binaries)
        options = [
            "--no-sync",
            "--no-instructions",
            "--wal-segsize=1",
            "-A",
            "trust",
            "-U",
            "postgres",
        ]
        encoding = ["-E", "UTF8", "--locale=C"]
        binaries.run("initdb", "-D", str(template), *options, *encoding, cwd=root)
        with (template / "postgresql.conf").open("a") as file:
            for key, value in self._settings.items():
                quoted = str(value).replace("'", "''")
                file.write(f"{key} = '{quoted}'\n")
        (template / "pg_hba.conf").write_text(
            "local all,replication all trust\n"
            f"host all all 127.0.0.1/32 {self._auth}\n"
            f"host replication all 127.0.0.1/32 {self._auth}\n"
        )
        # A standby refuses to start with a lower max_connections than its primary's in the control
        # file, where initdb wrote its own default. A single-user run writes ours.
        binaries.run("postgres", "--single", "-D", str(template), "postgres", cwd=root)
        return Snapshot(template, binaries)

    def _bring_up(self) -> None:
        """Give every node the initial contents and start all; none of them may be running."""
        primary = self._members[0]

        def bring_up(member: Member) -> None:
            member.server.clear_remains()
            self._snapshot.restore(member.server.data)
            if member is not primary:
                member.write_primary_conninfo(primary)
            member.start(START_TIMEOUT)

        with ThreadPoolExecutor(len(self._members)) as pool:
            list(pool.map(bring_up, self._members))
        for member in self._members:
            if member is not primary:
                member.wait_streaming_from(primary, START_TIMEOUT)
            member.touched = False

    def _reset(self) -> None:
        with self._lock:
            for member in self._members:
                member.server.kill()
            self._bring_up()

    def _close(self) -> None:
        # A forked child inherits the exit handler, but the servers are not its own.
        if self._owner != os.getpid():
            return
        # The lock makes close() wait for an open() whose caller was cancelled. No threads here:
        # this is also an exit handler, and at exit no thread can be started.
        with self._lock:
            if self._root is None:
                return
            for member in self._members:
                member.server.kill()
                member.server.clear_remains()
            shutil.rmtree(self._root)
            self._root = None
            if self._watcher is not None:
                self._watcher.dismiss()
            atexit.unregister(self._close)

    def _wait_streaming(self, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while not self._all_stream():
            if time.monotonic() > deadline:
                raise ClusterError(f"not every standby streams after {timeout:g} s: {self.nodes}")
            time.sleep(0.01)

    def _all_stream(self) -> bool:
        standbys, streaming = set(), set()
        for member in self._members:
            if member.server.state is not NodeState.RUNNING:
                continue
            try:
                in_recovery, followers = member.replication()
            except psycopg.OperationalError:
                return False
            if in_recovery:
                standbys.add(member.server.name)
            streaming |= followers
        return standbys <= streaming


def _make_member(root: Path, index: int, binaries: Binaries) -> Member:
    server = Server(binaries, root / f"n{index}", f"n{index}", free_port())
    make_directory(server.home, binaries)
    make_directory(server.data, binaries)
    return Member(server)
