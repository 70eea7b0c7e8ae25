"""SQLAlchemy's Core and ORM over a manager's connections.

```python
engine = create_async_engine(manager)
Session = async_sessionmaker(engine)
```

The manager pools and tests connections and moves them to another host; SQLAlchemy keeps none
(`NullPool`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy.dialects import registry
from sqlalchemy.dialects.postgresql.psycopg import PGDialectAsync_psycopg
from sqlalchemy.ext import asyncio
from sqlalchemy.pool import NullPool

from .errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.ext.asyncio import AsyncEngine

    from .connection import ManagedConnection
    from .manager import ConnectionManager

__all__ = ["create_async_engine"]

URL = "postgresql+pgmoor://"
OURS = ("async_creator", "creator", "poolclass", "pool", "connect_args")


class Dialect(PGDialectAsync_psycopg):
    """SQLAlchemy's dialect for psycopg, for connections that come more than once."""

    # Its statements and types are those of the dialect that it extends.
    supports_statement_cache = True

    @classmethod
    def get_async_dialect_cls(cls, _: Any) -> type[Dialect]:
        """Return the class itself: there is no other for asyncio."""
        return cls

    def on_connect(self) -> Callable[[Any], None]:
        """Return what SQLAlchemy calls at each checkout: every connection is new to it.

        The handler for notices would be added to the same connection again and again.
        """
        parent: Any = super()  # SQLAlchemy's dialects are not typed
        prepare: Callable[[Any], None] = parent.on_connect()

        def once(adapted: Any) -> None:
            conn: ManagedConnection = adapted.driver_connection
            if not conn.known_to_sqlalchemy:
                conn.known_to_sqlalchemy = True
                prepare(adapted)
            elif self.isolation_level is not None:
                parent.set_isolation_level(adapted, self.isolation_level)

        return once


registry.register("postgresql.pgmoor", __name__, "Dialect")


def create_async_engine(manager: ConnectionManager, **kwargs: Any) -> AsyncEngine:
    """Return an engine whose connections are *manager*'s.

    *kwargs* are those of `sqlalchemy.ext.asyncio.create_async_engine`, without the pool's, the
    creator and `connect_args`, which are the manager's business. The manager has to be open when
    the engine first connects; `dispose()` leaves it open. `PoolExhausted`, `NoHostAvailable` and
    the like come as `sqlalchemy.exc.OperationalError`, with the error of pgmoor in `orig`.

    Raises `ConfigError` for an argument that is the manager's business.
    """
    for name in kwargs:
        if name in OURS or name.startswith("pool_") or name == "max_overflow":
            raise ConfigError(
                name, "the manager has the pool and makes the connections", "set it on the manager"
            )

    async def borrow() -> ManagedConnection:
        conn = await manager.getconn()
        conn.return_on_close()
        return conn

    return asyncio.create_async_engine(URL, poolclass=NullPool, async_creator=borrow, **kwargs)
