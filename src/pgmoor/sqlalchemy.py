"""SQLAlchemy's Core and ORM over a manager's connections.

```python
engine = create_async_engine(manager)
Session = async_sessionmaker(engine)
```

The manager pools and tests connections and moves them to another host; SQLAlchemy keeps none
(`NullPool`).
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
from sqlalchemy import event
from sqlalchemy.dialects import registry
from sqlalchemy.dialects.postgresql.psycopg import PGDialectAsync_psycopg
from sqlalchemy.ext import asyncio
from sqlalchemy.pool import NullPool
from sqlalchemy.util import await_
from sqlalchemy.util.concurrency import in_greenlet

from ._core.pool.checkout import pool_of
from .errors import ConfigError

if TYPE_CHECKING:
    from psycopg.types import TypeInfo
    from sqlalchemy.ext.asyncio import AsyncEngine

    from ._core.connection.managed import ManagedConnection
    from ._core.manager.manager import ConnectionManager

__all__ = ["create_async_engine"]

URL = "postgresql+pgmoor://"
OURS = ("async_creator", "creator", "poolclass", "pool", "connect_args")

# What SQLAlchemy and the listeners of its events change of a connection.
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
    """What a connection was set to before SQLAlchemy got it.

    Of psycopg's settings the private side is used: the public one refuses in a transaction, and
    one who was cancelled gives the connection back in one.
    """

    def __init__(self, manager: ConnectionManager, conn: ManagedConnection) -> None:
        self.manager = manager
        self.conn = conn
        self.healthy = False  # though SQLAlchemy calls it invalid
        self._lease = conn.lease
        self._own = {name: getattr(conn, name) for name in CHANGED}
        self._cursors: WeakSet[AsyncServerCursor[Any]] = WeakSet()

    def prepare(self) -> None:
        """Set the connection to what SQLAlchemy takes for granted, on copies of what it changes."""
        conn = self.conn
        conn._adapters = AdaptersMap(conn.adapters)  # noqa: SLF001  see the class
        conn._notice_handlers = conn._notice_handlers.copy()  # noqa: SLF001  the same
        conn._autocommit = False  # noqa: SLF001  the same
        conn.row_factory = tuple_row
        if issubclass(conn.cursor_factory, RawCursorMixin):  # its placeholders are other ones
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
        """Give the connection back as it was; a transaction is rolled back by the manager."""
        conn = self.conn
        if conn.holder is None or conn.lease != self._lease:
            return  # it has been given back behind SQLAlchemy's back
        for cursor in self._cursors:
            # A result that is closed only now would close its cursor in another's transaction.
            cursor._close()  # noqa: SLF001  the public one asks the server
        for name, value in self._own.items():
            setattr(conn, name, value)
        await self.manager.putconn(conn)

    def end_soon(self) -> None:
        """Have the manager's loop give the connection back; may be called in any thread."""
        loop, pool = self.manager._loop, pool_of(self.conn)  # noqa: SLF001  not for everybody
        assert loop is not None
        with suppress(RuntimeError):  # the loop is closed, and all connections with it
            loop.call_soon_threadsafe(lambda: pool.tasks.spawn(self.end(), "collected"))


class Dialect(PGDialectAsync_psycopg):
    """SQLAlchemy's dialect for psycopg, for connections that are lent."""

    # Its statements and types are those of the dialect that it extends.
    supports_statement_cache = True
    has_terminate = True

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)  # type: ignore[no-untyped-call]
        self._loans: dict[ManagedConnection, Loan] = {}
        self._hstore: TypeInfo | None = None

    @classmethod
    def get_async_dialect_cls(cls, _: Any) -> type[Dialect]:
        """Return the class itself: there is no other for asyncio."""
        return cls

    async def lend(self, manager: ConnectionManager) -> ManagedConnection:
        """Take a connection of the manager for SQLAlchemy."""
        conn = await manager.getconn()
        loan = self._loans[conn] = Loan(manager, conn)
        loan.prepare()
        self._register(conn)
        return conn

    def _register(self, conn: ManagedConnection) -> None:
        """Do to a connection what the parent does by `connect()`'s arguments."""
        if self._json_deserializer:
            loads: Any = self._json_deserializer  # SQLAlchemy says that it is given a str only
            set_json_loads(loads, conn)
        if self._json_serializer:
            set_json_dumps(self._json_serializer, conn)
        if self._native_inet_types is False:
            conn.adapters.register_loader("inet", TextLoader)
            conn.adapters.register_loader("cidr", TextLoader)
        if self._hstore is not None:
            register_hstore(self._hstore, conn)

    def _type_info_fetch(self, connection: Any, name: str) -> Any:
        """Remember hstore's, which the parent asks for with the first connection only."""
        info = super()._type_info_fetch(connection, name)  # type: ignore[no-untyped-call]
        if name == "hstore":
            self._hstore = info
        return info

    def invalidated(self, adapted: Any, _: Any, error: BaseException | None) -> None:
        """Note why SQLAlchemy is about to terminate a connection.

        It does so with every cancelled query, too, but ours has been brought to its end.
        """
        loan = self._loans.get(adapted.driver_connection)
        if loan is not None:
            loan.healthy = error is not None and not isinstance(error, Exception)

    def do_close(self, adapted: Any) -> None:
        """Give the connection back."""
        loan = self._loans.pop(adapted.driver_connection, None)
        if loan is not None:
            await_(loan.end())

    def do_terminate(self, adapted: Any) -> None:
        """Give the connection back, closed if it is not known to be healthy."""
        loan = self._loans.pop(adapted.driver_connection, None)
        if loan is None:
            return
        if not in_greenlet():  # the garbage collector found it
            loan.end_soon()
            return
        if not loan.healthy:
            loan.conn.discard()
        await_(loan.end())


registry.register("postgresql.pgmoor", __name__, "Dialect")


def create_async_engine(manager: ConnectionManager, **kwargs: Any) -> AsyncEngine:
    """Return an engine whose connections are *manager*'s.

    *kwargs* are those of `sqlalchemy.ext.asyncio.create_async_engine`, without the pool's, the
    creator and `connect_args`, which are the manager's business. The manager has to be open when
    the engine first connects; `dispose()` leaves it open. `PoolExhausted`, `NoHostAvailable` and
    the like come as `sqlalchemy.exc.OperationalError`, with the error of pgmoor in `orig`.

    What is set on a connection by the engine, by execution options or by listeners of the engine's
    events is set back when it returns: other users of the manager see nothing of it.

    Raises `ConfigError` for an argument that is the manager's business.
    """
    for name in kwargs:
        if name in OURS or name.startswith("pool_") or name == "max_overflow":
            raise ConfigError(
                name, "the manager has the pool and makes the connections", "set it on the manager"
            )

    async def borrow() -> Any:
        dialect: Any = engine.dialect
        return await dialect.lend(manager)

    engine = asyncio.create_async_engine(URL, poolclass=NullPool, async_creator=borrow, **kwargs)
    dialect: Any = engine.dialect  # ours, as the URL says
    event.listen(engine.sync_engine, "invalidate", dialect.invalidated)
    return engine
