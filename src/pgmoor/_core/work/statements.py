"""The statements that begin a transaction, and that ask what became of one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from psycopg import IsolationLevel, pq

from pgmoor._core.connection.bounded_read import MalformedAnswer
from pgmoor._core.settings.mistakes import shown
from pgmoor.errors import ConfigError

from .verdict import ServerRun

if TYPE_CHECKING:
    from psycopg.pq.abc import PGresult

    from pgmoor._core.connection.managed import ManagedConnection

Isolation: TypeAlias = (
    IsolationLevel
    | Literal["read uncommitted", "read committed", "repeatable read", "serializable"]
)

MALFORMED = "the server's answer about a transaction can't be read; is it PostgreSQL?"

# All names are qualified, so that no search_path can put others in their place.
_RECOVERS = "pg_catalog.pg_is_in_recovery()"
_XID = f"case when {_RECOVERS} then null else pg_catalog.pg_current_xact_id()::pg_catalog.text end"
# A primary's timeline does not change while a session lives, nor does anything else here.
_SERVER = f"""{_RECOVERS},
 (select system_identifier::pg_catalog.text from pg_catalog.pg_control_system()),
 case when {_RECOVERS} then null else pg_catalog.substr(
  pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()), 1, 8) end,
 extract(epoch from pg_catalog.pg_postmaster_start_time())::pg_catalog.text,
 extract(epoch from pg_catalog.pg_stat_get_bgwriter_stat_reset_time())::pg_catalog.text,
 pg_catalog.pg_backend_pid()::pg_catalog.text"""  # noqa: S608  it has no parameters
ASK_XID = b"select pg_catalog.pg_current_xact_id()"  # of a server that is known to be a primary
TELL_XID = b" returning pg_catalog.pg_current_xact_id()"
ASK_XID_AND_SERVER = f"select {_XID}, {_SERVER}".encode()

# A backend that is ended while it waits for a synchronous standby leaves a commit that all can see
# and no standby may have. A later commit that has waited vouches for it.
CONFIRM = b"select pg_catalog.pg_logical_emit_message(true, 'pgmoor', 'commit')"

IN_THE_FUTURE = "22023"  # what pg_xact_status() raises for an id that was not given yet


@dataclass(frozen=True, slots=True)
class Modes:
    """The modes of a transaction; None leaves one to the connection."""

    isolation: IsolationLevel | None = None
    readonly: bool | None = None
    deferrable: bool | None = None

    @classmethod
    def of(cls, isolation: Any, readonly: Any, deferrable: Any) -> Modes:
        """Check the arguments; raise `ConfigError`."""
        if isolation is readonly is deferrable is None:
            return _AS_THE_CONNECTION
        for name, value in (("readonly", readonly), ("deferrable", deferrable)):
            if not (value is None or isinstance(value, bool)):
                what = f"{shown(value)} is not True, False or None"
                raise ConfigError(name, what, "give one of them")
        if isinstance(isolation, str):
            isolation = _LEVELS.get(isolation.lower(), isolation)
        if not (isolation is None or isinstance(isolation, IsolationLevel)):
            words = ", ".join(_LEVELS)
            what = "unknown level" if isinstance(isolation, str) else f"it is {shown(isolation)}"
            raise ConfigError("isolation", what, f"give an IsolationLevel, or {words}")
        return cls(isolation, readonly, deferrable)

    def read_only(self, conn: ManagedConnection) -> bool:
        """Return whether the transaction surely writes nothing."""
        return bool(conn.read_only if self.readonly is None else self.readonly)

    def begin(self, conn: ManagedConnection) -> bytes:
        """Return the statement that begins a transaction."""
        level = conn.isolation_level if self.isolation is None else self.isolation
        readonly = conn.read_only if self.readonly is None else self.readonly
        deferrable = conn.deferrable if self.deferrable is None else self.deferrable
        if level is None and readonly is None and deferrable is None:
            return b"BEGIN"
        words = ["BEGIN"]
        if level is not None:
            words.append(f"ISOLATION LEVEL {IsolationLevel(level).name.replace('_', ' ')}")
        if readonly is not None:
            words.append("READ ONLY" if readonly else "READ WRITE")
        if deferrable is not None:
            words.append("DEFERRABLE" if deferrable else "NOT DEFERRABLE")
        return " ".join(words).encode()


_AS_THE_CONNECTION = Modes()
_LEVELS = {level.name.replace("_", " ").lower(): level for level in IsolationLevel}


def _quoted(text: str, conn: ManagedConnection) -> bytes:
    """Return a literal; psycopg's own way takes ten times as long."""
    encoded = text.encode(conn.info.encoding)
    return bytes(pq.Escaping(conn.pgconn).escape_literal(encoded))


def insert_key(key: str, attempt: str, conn: ManagedConnection) -> bytes:
    """Return the statement that claims an idempotency key."""
    return (
        b"insert into pgmoor.transactions (key, attempt) values (%b, %b)"
        b" on conflict (key) do nothing"
    ) % (_quoted(key, conn), _quoted(attempt, conn))


def select_attempt(key: str, conn: ManagedConnection) -> bytes:
    """Return the statement that asks which attempt has claimed a key."""
    select = b"select attempt::pg_catalog.text from pgmoor.transactions where key = "
    return select + _quoted(key, conn)


def ask_fate(xid: int) -> bytes:
    """Return the statements that ask which server this is, and for a transaction's status."""
    return (
        f"select null, {_SERVER}; select pg_catalog.pg_xact_status('{xid}'::pg_catalog.xid8)"
    ).encode()


def end_session(xid: int, pid: int) -> bytes:
    """Return the statement that ends a session whose client is lost and whose COMMIT never came."""
    select = "select pg_catalog.pg_terminate_backend(pid) from pg_catalog.pg_stat_activity"
    own = f"pid = {pid} and backend_xid = '{xid}'::pg_catalog.xid8::pg_catalog.xid"
    return f"{select} where {own} and state = 'idle in transaction'".encode()


def row_of(result: PGresult) -> list[str | None]:
    """Return the only row of a result, as text; nothing if there is none."""
    if result.status != pq.ExecStatus.TUPLES_OK or result.ntuples < 1:
        return []
    values = (result.get_value(0, column) for column in range(result.nfields))
    return [None if value is None else value.decode() for value in values]


def parse_server(row: list[str | None], backend_pid: int) -> tuple[ServerRun, bool]:
    """Return which server has answered, and whether a pooler stands in front of it."""
    try:
        recovers, system_id, timeline, started, reset, pid = row
        number = None if timeline is None else int(timeline, 16)
    except ValueError:
        raise MalformedAnswer(MALFORMED) from None
    server = ServerRun(
        system_id=system_id,
        timeline=number,
        started=started,
        reset=reset,
        in_recovery=recovers != "f",
    )
    return server, pid != str(backend_pid)
