"""What one server says of itself to `pgmoor check`: version, TLS, connections and settings."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import psycopg

from pgmoor import ConnectionManager

if TYPE_CHECKING:
    from collections.abc import Mapping

# Each is read by a rule in `advice`, or needed for the number of connections.
SETTINGS = (
    "data_checksums",
    "default_transaction_read_only",
    "idle_in_transaction_session_timeout",
    "idle_session_timeout",
    "max_connections",
    "reserved_connections",
    "server_version",
    "superuser_reserved_connections",
    "synchronous_commit",
    "synchronous_standby_names",
    "tcp_keepalives_idle",
    "tcp_user_timeout",
    "wal_log_hints",
)
# Every role may ask these.
READ_SETTINGS = (
    "select name, setting from pg_catalog.pg_settings where name operator(pg_catalog.=) any(%s)"
)
# But for the command's own sessions, which have a name of their own.
READ_USED = """
select (select pg_catalog.sum(numbackends) from pg_catalog.pg_stat_database)::int
 operator(pg_catalog.-) (select pg_catalog.count(*) from pg_catalog.pg_stat_activity
  where application_name operator(pg_catalog.=)
   pg_catalog.current_setting('application_name'))::int
"""
READ_TLS = """
select ssl, version, cipher from pg_catalog.pg_stat_ssl
 where pid operator(pg_catalog.=) pg_catalog.pg_backend_pid()
"""
RESERVED = ("superuser_reserved_connections", "reserved_connections")


@dataclass(frozen=True, slots=True)
class Tls:
    """Whether our connection uses TLS, and what the server says of it if it knows."""

    in_use: bool
    version: str | None = None
    cipher: str | None = None

    def __str__(self) -> str:
        if not self.in_use:
            return "no TLS"
        return " ".join(word for word in (self.version or "TLS", self.cipher) if word)


@dataclass(frozen=True, slots=True)
class Inspection:
    """One server's answers; None for what it would not say."""

    tls: Tls
    used: int | None = None
    """Sessions in all databases, without the command's own."""
    settings: Mapping[str, str] = field(default_factory=dict)

    @property
    def version(self) -> str | None:
        """The server's version, such as 18.1."""
        return (self.settings.get("server_version") or "").partition(" ")[0] or None

    @property
    def allowed(self) -> int | None:
        """How many sessions it allows roles that are not superusers."""
        if "max_connections" not in self.settings:
            return None
        reserved = sum(int(self.settings.get(name, "0")) for name in RESERVED)
        return int(self.settings["max_connections"]) - reserved


async def inspect(conninfo: str, timeout: float) -> Inspection | None:
    """Ask the server behind a conninfo; return None if it doesn't answer in *timeout* seconds."""
    # A manager, since its deadlines hold on a server that falls silent.
    manager = ConnectionManager(
        conninfo, target="any", min_size=0, max_size=1, timeout=timeout, close_timeout=0.5
    )
    try:
        async with manager, manager.connection() as conn:
            tls = Tls(in_use=conn.pgconn.ssl_in_use)
            try:
                return await _ask(conn, tls)
            except psycopg.ProgrammingError:
                # A pooler or another database, without PostgreSQL's catalogue.
                await conn.rollback()
                return Inspection(tls)
    except psycopg.Error:
        return None


async def _ask(conn: psycopg.AsyncConnection[Any], tls: Tls) -> Inspection:
    settings = await (await conn.execute(READ_SETTINGS, [list(SETTINGS)])).fetchall()
    used = await (await conn.execute(READ_USED)).fetchone()
    row = await (await conn.execute(READ_TLS)).fetchone()
    # Behind a pooler the server's own TLS is another one.
    if row is not None and row[0] and tls.in_use:
        tls = Tls(in_use=True, version=row[1], cipher=row[2])
    return Inspection(tls, used and used[0], dict(settings))
