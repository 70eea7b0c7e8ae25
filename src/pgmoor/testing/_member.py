"""Knows one server as a member of a cluster: its role, whom it follows, and what it answers in SQL.

Leaves processes to `server.py` and everything asynchronous to `node.py`. Everything here blocks.
"""

import contextlib
import signal
import time
from collections.abc import Iterator

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from ._binaries import ClusterError
from ._server import Server

START_TIMEOUT = 30.0
STREAM_TIMEOUT = 15.0


class Member:
    """One server and the SQL that makes it a primary or a standby."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.touched = False
        """Whether anything was done to it that changes more than its contents."""

    def start(self, timeout: float | None) -> None:
        """Start with what the data directory says; None doesn't wait for it to be ready."""
        self.server.start()
        if timeout is not None:
            self.server.wait_ready(timeout)

    def wait_for(self, query: str, timeout: float, dbname: str = "postgres") -> None:
        """Return when the query's first value is true, however often the connection is lost.

        Raises `ClusterError` after *timeout* seconds, or at once when the server is gone.
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
                raise ClusterError(self.server.explain(f"is not there to be asked: {query}"))
            if time.monotonic() > deadline:
                raise ClusterError(
                    self.server.explain(f"did not answer true within {timeout:g} s to: {query}")
                )
            time.sleep(0.02)

    def wait_streaming_from(self, primary: "Member", timeout: float) -> None:
        """Return when `primary` says that this node streams from it."""
        primary.wait_for(
            "SELECT EXISTS (SELECT FROM pg_stat_replication"
            f" WHERE application_name = '{self.server.name}' AND state = 'streaming')",
            timeout,
        )

    def replication(self) -> tuple[bool, set[str]]:
        """Return whether the node is in recovery, and the names of those that stream from it."""
        query = (
            "SELECT pg_is_in_recovery(), array(SELECT application_name FROM pg_stat_replication"
            " WHERE state = 'streaming')"
        )
        with self.connect() as conn:
            row = conn.execute(query).fetchone()
        assert row is not None
        return row[0], set(row[1])

    def write_primary_conninfo(self, primary: "Member") -> None:
        """Say in the data directory of a node that isn't running that it is `primary`'s standby."""
        (self.server.data / "standby.signal").touch()
        setting = primary.replication_conninfo().replace("'", "''")
        # Nothing else may stay in it: after pg_rewind it holds the primary's own settings.
        (self.server.data / "postgresql.auto.conf").write_text(f"primary_conninfo = '{setting}'\n")

    @contextlib.contextmanager
    def connect(self, dbname: str = "postgres", options: str = "") -> Iterator[psycopg.Connection]:
        """Open an autocommit connection as the superuser, over the Unix socket."""
        # All that the PG* variables of the environment could spoil is said here.
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
        """Return where a standby finds this member: by Unix socket, which asks no password."""
        return make_conninfo("", host=str(self.server.home), port=self.server.port, user="postgres")

    def promote(self, timeout: float | None) -> None:
        """Make a standby primary; None doesn't wait for it to take writes."""
        if self.server.pid is None:
            raise ClusterError(f"{self.server.name} is not running")
        if not (self.server.data / "standby.signal").exists():
            raise ClusterError(f"{self.server.name} is not a standby")
        # What pg_ctl does, without its waits.
        (self.server.data / "promote").touch()
        self.server.signal(signal.SIGUSR1)
        if timeout is not None:
            self.wait_for("SELECT NOT pg_is_in_recovery()", timeout)
            # A transaction id is a write; waiting for synchronous standbys is not what was asked.
            with self.connect(options="-c synchronous_commit=local") as conn:
                conn.execute("SELECT pg_current_xact_id()")

    def set_read_only(self, value: str) -> None:
        """Set default_transaction_read_only, and return when old and new sessions show it."""
        show = "SHOW default_transaction_read_only"
        with self.connect() as existing:
            existing.execute(
                sql.SQL("ALTER SYSTEM SET default_transaction_read_only = {}").format(value)
            )
            existing.execute("SELECT pg_reload_conf()")

            def seen() -> bool:
                with self.connect() as new:
                    return all(
                        conn.execute(show).fetchone() == (value,) for conn in (existing, new)
                    )

            self.server.wait(seen, 10, f"did not set default_transaction_read_only to {value}")

    def follow(self, primary: "Member", timeout: float) -> None:
        """Make a running standby stream from `primary`."""
        with self.connect() as conn:
            conn.execute(
                sql.SQL("ALTER SYSTEM SET primary_conninfo = {}").format(
                    primary.replication_conninfo()
                )
            )
            conn.execute("SELECT pg_reload_conf()")
        self.wait_streaming_from(primary, timeout)

    def rejoin(self, primary: "Member", timeout: float) -> None:
        """Make this, whatever its state, a running standby that streams from `primary`."""
        # pg_rewind copies what differs. Where it can't, or the result doesn't stream, copy all.
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

    def _rewind(self, primary: "Member") -> None:
        # Until PostgreSQL 16 the new timeline is looked for in the control file, which a promotion
        # leaves as it was up to the next checkpoint.
        with primary.connect() as conn:
            conn.execute("CHECKPOINT")
        source = make_conninfo(primary.replication_conninfo(), dbname="postgres")
        arguments = ("--no-sync", "-D", str(self.server.data), "--source-server", source)
        self.server.binaries.run("pg_rewind", *arguments, cwd=self.server.home)

    def _base_backup(self, primary: "Member") -> None:
        self.server.wipe()
        source = primary.replication_conninfo()
        arguments = ("--no-sync", "-c", "fast", "-D", str(self.server.data), "-d", source)
        self.server.binaries.run("pg_basebackup", *arguments, cwd=self.server.home)

    def _stand_by(self, primary: "Member", timeout: float) -> None:
        self.write_primary_conninfo(primary)
        self.start(timeout)
        self.wait_streaming_from(primary, timeout)
