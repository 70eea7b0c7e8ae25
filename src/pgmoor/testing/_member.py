"""One server as a member of a cluster: its role, its primary, and SQL on it. All of it blocks.

Processes are in `_server.py`, the asynchronous interface in `_node.py`.
"""

from __future__ import annotations

import contextlib
import signal
import time
from typing import TYPE_CHECKING

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from ._binaries import ClusterError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ._server import Server

START_TIMEOUT = 30.0
STREAM_TIMEOUT = 15.0

# How far the WAL of a standby goes: the receiver's position is NULL until it has streamed.
RECEIVED = "greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())"
OTHER_SESSIONS = (
    "pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
)
END_SESSIONS = f"SELECT pg_terminate_backend(pid) FROM {OTHER_SESSIONS}"


class Member:
    """A server and the SQL that makes it a primary or a standby."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.touched = False
        """Whether something was done that SQL on its contents can't undo."""

    def start(self, timeout: float | None) -> None:
        """Start it in the role its data directory says; with None don't wait until it is ready."""
        self.server.start()
        if timeout is not None:
            self.server.wait_ready(timeout)

    def wait_for(self, query: str, timeout: float, dbname: str = "postgres") -> None:
        """Wait until the query's first value is true; connect again when the connection is lost.

        Raises `ClusterError` after *timeout* seconds, or at once when the server is not running.
        """
        deadline = time.monotonic() + timeout
        while True:
            with contextlib.suppress(psycopg.OperationalError), self.connect(dbname) as conn:
                while time.monotonic() < deadline:
                    row = conn.execute(query.encode()).fetchone()
                    if row and row[0]:
                        return
                    time.sleep(0.005)
            if self.server.pid is None:
                raise ClusterError(
                    self.server.explain(f"is not running, so it can't answer: {query}")
                )
            if time.monotonic() > deadline:
                raise ClusterError(
                    self.server.explain(f"did not answer true within {timeout:g} s to: {query}")
                )
            time.sleep(0.02)

    def wait_streaming_from(self, primary: Member, timeout: float) -> None:
        """Wait until `primary` reports that this node streams from it."""
        primary.wait_for(
            "SELECT EXISTS (SELECT FROM pg_stat_replication"
            f" WHERE application_name = '{self.server.name}' AND state = 'streaming')",
            timeout,
        )

    def replication(self) -> tuple[bool, set[str]]:
        """Return whether the node is in recovery, and the names of the standbys that follow it."""
        query = (
            "SELECT pg_is_in_recovery(), array(SELECT application_name FROM pg_stat_replication"
            " WHERE state = 'streaming')"
        )
        with self.connect() as conn:
            row = conn.execute(query).fetchone()
        assert row is not None
        return row[0], set(row[1])

    def write_primary_conninfo(self, primary: Member) -> None:
        """Make the data directory of a node that isn't running that of a standby of `primary`."""
        (self.server.data / "standby.signal").touch()
        setting = primary.replication_conninfo().replace("'", "''")
        # The file is replaced: after pg_rewind it holds the primary's own settings.
        (self.server.data / "postgresql.auto.conf").write_text(f"primary_conninfo = '{setting}'\n")

    @contextlib.contextmanager
    def connect(self, dbname: str = "postgres", options: str = "") -> Iterator[psycopg.Connection]:
        """Open an autocommit connection as the superuser, over the Unix socket."""
        # Each parameter is set that a PG* variable of the environment could change.
        with psycopg.connect(
            host=str(self.server.home),
            port=self.server.port,
            user="postgres",
            dbname=dbname,
            options=options,
            target_session_attrs="any",
            connect_timeout=5,
            autocommit=True,
        ) as conn:
            yield conn

    def replication_conninfo(self) -> str:
        """Return the conninfo for a standby of this member: the Unix socket needs no password."""
        return make_conninfo("", host=str(self.server.home), port=self.server.port, user="postgres")

    def promote(self, timeout: float | None) -> None:
        """Make a standby primary; with None don't wait until it accepts writes."""
        if self.server.pid is None:
            raise ClusterError(f"{self.server.name} is not running")
        if not (self.server.data / "standby.signal").exists():
            raise ClusterError(f"{self.server.name} is not a standby")
        # What pg_ctl does, without its polling.
        (self.server.data / "promote").touch()
        self.server.signal(signal.SIGUSR1)
        if timeout is not None:
            self.wait_for("SELECT NOT pg_is_in_recovery()", timeout)
            # Taking a transaction id is a write; this one doesn't wait for synchronous standbys.
            with self.connect(options="-c synchronous_commit=local") as conn:
                conn.execute("SELECT pg_current_xact_id()")

    def set_read_only(self, value: str) -> None:
        """Set default_transaction_read_only; wait until old and new sessions show it."""
        show = "SHOW default_transaction_read_only"
        with self.connect() as existing:
            existing.execute(
                sql.SQL("ALTER SYSTEM SET default_transaction_read_only = {}").format(value)
            )
            existing.execute("SELECT pg_reload_conf()")

            def in_effect() -> bool:
                with self.connect() as new:
                    return all(
                        conn.execute(show).fetchone() == (value,) for conn in (existing, new)
                    )

            self.server.wait(in_effect, 10, f"did not set default_transaction_read_only to {value}")

    def follow(self, primary: Member, timeout: float) -> None:
        """Make a running standby stream from `primary`."""
        with self.connect() as conn:
            conn.execute(
                sql.SQL("ALTER SYSTEM SET primary_conninfo = {}").format(
                    primary.replication_conninfo()
                )
            )
            conn.execute("SELECT pg_reload_conf()")
        self.wait_streaming_from(primary, timeout)

    def rejoin(self, primary: Member, timeout: float) -> None:
        """Make this, whatever its state, a running standby that streams from `primary`."""
        # pg_rewind copies what differs. If it fails or the result doesn't stream, copy everything.
        try:
            self._end()
            self._rewind(primary)
            self._stand_by(primary, timeout)
        except ClusterError:
            self._end()
            self._base_backup(primary)
            self._stand_by(primary, timeout)

    def _end(self) -> None:
        try:
            self.server.stop("fast", 5)
        except ClusterError:
            self.server.kill()
        self.server.clear_remains()

    def _rewind(self, primary: Member) -> None:
        # Up to PostgreSQL 15, pg_rewind reads the new timeline from the control file, which a
        # promotion leaves unchanged until the next checkpoint.
        with primary.connect() as conn:
            conn.execute("CHECKPOINT")
        source = make_conninfo(primary.replication_conninfo(), dbname="postgres")
        arguments = ("--no-sync", "-D", str(self.server.data), "--source-server", source)
        self.server.binaries.run("pg_rewind", *arguments, cwd=self.server.home)

    def _base_backup(self, primary: Member) -> None:
        self.server.wipe()
        source = primary.replication_conninfo()
        arguments = ("--no-sync", "-c", "fast", "-D", str(self.server.data), "-d", source)
        self.server.binaries.run("pg_basebackup", *arguments, cwd=self.server.home)

    def _stand_by(self, primary: Member, timeout: float) -> None:
        self.write_primary_conninfo(primary)
        self.start(timeout)
        self.wait_streaming_from(primary, timeout)
