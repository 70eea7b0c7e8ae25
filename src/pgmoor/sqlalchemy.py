"""pgmoor for SQLAlchemy: Core and ORM on a manager's connections.

```python
engine = create_async_engine(manager)
Session = async_sessionmaker(engine)
```

The manager pools the connections, tests them and fails over. SQLAlchemy keeps none (`NullPool`).
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from psycopg import AsyncCursor, AsyncServerCursor
from psycopg.adapt import AdaptersMap
from psycopg.raw_cursor import RawCursorMixin
from psycopg.rows import tuple_row
from psycopg.types.hstore import register_hstore
from psycopg.types.json import set_json_dumps, set_json_loads
from psycopg.types.string import TextLoader

try:
    from sqlalchemy import event
    from sqlalchemy.dialects import registry
    from sqlalchemy.dialects.postgresql.psycopg import PGDialectAsync_psycopg
    from sqlalchemy.ext import asyncio
    from sqlalchemy.pool import NullPool
    from sqlalchemy.util import await_only as await_
    from sqlalchemy.util.concurrency import in_greenlet
except ImportError as _error:
    raise ImportError(
        'pgmoor.sqlalchemy needs SQLAlchemy: pip install "pgmoor[sqlalchemy]"'
    ) from _error

from ._core.manager.given import require_manager
from ._core.pool.host_pool import pool_of
from ._core.settings.mistakes import in_our_words
from .errors import ConfigError

if TYPE_CHECKING:
    from psycopg.types import TypeInfo
    from sqlalchemy.ext.asyncio import AsyncEngine

    from ._core.connection.managed import ManagedConnection
    from ._core.manager.manager import ConnectionManager

__all__ = ["create_async_engine"]

URL = "postgresql+pgmoor://"
MANAGERS_OWN = ("async_creator", "creator", "poolclass", "pool", "connect_args")

# The attributes of a connection that SQLAlchemy and listeners of its events change.
CHANGED = (
    "_adapters",
    "_autocommit",
    "_begin_statement",
    "_deferrable",
    "_isolation_level",
    "_notice_handlers",
    "_read_only",
    "cursor_factory",
    "prepare_threshold",
    "row_factory",
    "server_cursor_factory",
)


class Loan:
    """One checkout by SQLAlchemy, with the settings that the connection had before.

    It sets psycopg's private attributes: the public setters raise inside a transaction, and a
    cancelled task returns its connection in one.
    """

    def __init__(self, manager: ConnectionManager[Any], conn: ManagedConnection) -> None:
        self.manager = manager
        self.conn = conn
        self.healthy = False  # even if SQLAlchemy invalidates it
        self._lease = conn.lease
        self._own = {name: getattr(conn, name) for name in CHANGED}
        self._cursors: WeakSet[AsyncServerCursor[Any]] = WeakSet()

    def prepare(self) -> None:
        """Apply the settings that SQLAlchemy expects; copy what it changes in place."""
        conn = self.conn
        conn._adapters = AdaptersMap(conn.adapters)  # noqa: SLF001  see the class
        conn._notice_handlers = conn._notice_handlers.copy()  # noqa: SLF001  the same
        conn._autocommit = False  # noqa: SLF001  the same
        conn.row_factory = tuple_row
        if issubclass(conn.cursor_factory, RawCursorMixin):  # it uses other placeholders
            conn.cursor_factory = AsyncCursor
        made = conn.server_cursor_factory
        if issubclass(made, RawCursorMixin):
            made = AsyncServerCursor

        def server_cursor(*args: Any, **kwargs: Any) -> AsyncServerCursor[Any]:
            cursor = made(*args, **kwargs)
            self._cursors.add(cursor)
            return cursor

        conn.server_cursor_factory = server_cursor  # type: ignore[assignment]

    async def end(self) -> None:
        """Restore the settings and return the connection; the manager rolls back."""
        conn = self.conn
        if conn.holder is None or conn.lease != self._lease:
            return  # it was already returned, without SQLAlchemy
        for cursor in self._cursors:
            # A result closed later would close its cursor in another caller's transaction.
            cursor._close()  # noqa: SLF001  the public method sends a query
        for name, value in self._own.items():
            setattr(conn, name, value)
        await self.manager.putconn(conn)

    def end_soon(self) -> None:
        """Have the manager's loop return the connection. Any thread may call it."""
        loop, pool = self.manager._loop, pool_of(self.conn)  # noqa: SLF001  no public attribute
        assert loop is not None
        with suppress(RuntimeError):  # the loop is closed, and so are all connections
            loop.call_soon_threadsafe(lambda: pool.tasks.spawn(self.end(), "collected"))


class Dialect(PGDialectAsync_psycopg):
    """SQLAlchemy's dialect for psycopg, on connections from a manager."""

    # Statements and types are those of the parent class.
    supports_statement_cache = True
    has_terminate = True

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)  # type: ignore[no-untyped-call]
        self._loans: dict[ManagedConnection, Loan] = {}
        self._hstore: TypeInfo | None = None

    @classmethod
    def get_async_dialect_cls(cls, _: Any) -> type[Dialect]:
        """Return the class itself, which is for asyncio only."""
        return cls

    async def lend(self, manager: ConnectionManager[Any]) -> ManagedConnection:
        """Check out a connection for SQLAlchemy."""
        conn: ManagedConnection = await manager.getconn()
        loan = self._loans[conn] = Loan(manager, conn)
        loan.prepare()
        self._register(conn)
        return conn

    def _register(self, conn: ManagedConnection) -> None:
        """Register the types that the parent would register when it connects."""
        if self._json_deserializer:
            loads: Any = self._json_deserializer  # SQLAlchemy annotates it as taking only a str
            set_json_loads(loads, conn)
        if self._json_serializer:
            set_json_dumps(self._json_serializer, conn)
        if self._native_inet_types is False:
            conn.adapters.register_loader("inet", TextLoader)
            conn.adapters.register_loader("cidr", TextLoader)
        if self._hstore is not None:
            register_hstore(self._hstore, conn)

    def _type_info_fetch(self, connection: Any, name: str) -> Any:
        """Remember hstore's type, which the parent fetches with the first connection only."""
        info = super()._type_info_fetch(connection, name)  # type: ignore[no-untyped-call]
        if name == "hstore":
            self._hstore = info
        return info

    def invalidated(self, adapted: Any, _: Any, error: BaseException | None) -> None:
        """Note whether the connection that SQLAlchemy is about to terminate is healthy.

        SQLAlchemy terminates it after each cancelled query, but pgmoor has ended that query.
        """
        loan = self._loans.get(adapted.driver_connection)
        if loan is not None:
            loan.healthy = error is not None and not isinstance(error, Exception)

    def do_close(self, adapted: Any) -> None:
        """Return the connection to the manager."""
        loan = self._loans.pop(adapted.driver_connection, None)
        if loan is not None:
            await_(loan.end())

    def do_terminate(self, adapted: Any) -> None:
        """Return the connection to the manager; close it first unless it is known to be healthy."""
        loan = self._loans.pop(adapted.driver_connection, None)
        if loan is None:
            return
        if not in_greenlet():  # called by the garbage collector
            loan.end_soon()
            return
        if not loan.healthy:
            loan.conn.discard()
        await_(loan.end())


registry.register("postgresql.pgmoor", __name__, "Dialect")


def create_async_engine(manager: ConnectionManager[Any], **kwargs: Any) -> AsyncEngine:
    """Return an engine that uses *manager*'s connections.

    *kwargs* are those of `sqlalchemy.ext.asyncio.create_async_engine`, except the pool's arguments,
    the creator and `connect_args`, which belong to the manager. Open the manager before the engine
    first connects; `dispose()` leaves it open. `PoolExhausted`, `NoHostAvailable` and the like
    reach you as `sqlalchemy.exc.OperationalError`, with pgmoor's error in `orig`.

    The engine, execution options and event listeners may change settings of a connection. They are
    restored when it returns, so other users of the manager never see them.

    Raises:
        ConfigError: An argument belongs to the manager.
        TypeError: *manager* isn't a `ConnectionManager`.
    """
    require_manager(manager, "create_async_engine()")
    for name in kwargs:
        if name in MANAGERS_OWN or name.startswith("pool_") or name == "max_overflow":
            raise ConfigError(
                name,
                "the manager owns the pool and its connections",
                in_our_words(name) or "set it on the manager",
            )

    async def borrow() -> Any:
        dialect: Any = engine.dialect
        return await dialect.lend(manager)

    engine = asyncio.create_async_engine(URL, poolclass=NullPool, async_creator=borrow, **kwargs)
    dialect: Any = engine.dialect  # the URL names ours
    event.listen(engine.sync_engine, "invalidate", dialect.invalidated)
    return engine
