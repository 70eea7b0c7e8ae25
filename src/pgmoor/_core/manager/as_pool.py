"""`ConnectionManager.as_pool()`: the manager as an `AsyncConnectionPool` that libraries accept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn, Self

from psycopg_pool import AsyncConnectionPool
from psycopg_pool.abc import ACT

from .beside import Beside, conninfo_of, dialled_by_manager

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import _AsyncGeneratorContextManager
    from types import TracebackType

    from pgmoor._core.settings.settings import Settings

    from .runtime import Runtime

# Attributes of each pool of psycopg_pool's that the manager has under the same name.
_SAME = frozenset(
    {
        *("name", "timeout", "max_waiting", "max_lifetime", "max_idle", "reconnect_timeout"),
        *("num_workers", "close_returns"),
    }
)


def _refuse(*_: Any, **__: Any) -> NoReturn:
    raise NotImplementedError("this is internal to psycopg_pool; the manager does its work")


_not_here: Any = _refuse


class ManagerPool(AsyncConnectionPool[ACT]):
    """Lends a manager's connections.

    `__init__()` of the base class is not called: there is no queue, worker or connection here.
    """

    _manager: AsyncConnectionPool[ACT]
    _settings: Callable[[], Settings]
    _beside: Beside

    def __init__(
        self, manager: Any, settings: Callable[[], Settings], usable: Callable[[], Runtime]
    ) -> None:
        given = manager.connection_class
        fixed = {
            "_manager": manager,  # which has the methods of its type, and their meaning
            "_settings": settings,
            "_beside": Beside(usable, manager.wait_ready, given),
            "connection_class": dialled_by_manager(given),
        }
        vars(self).update(fixed)

    def __getattr__(self, name: str) -> Any:
        """Return what the manager says; called for what is not found in any other way."""
        if name in _SAME:
            return getattr(self._manager, name)
        if name == "conninfo":
            return conninfo_of(self._settings(), self._beside.dial)
        if name == "kwargs":
            return dict(self._settings().connect_args)
        raise AttributeError(f"{name!r}: a manager's pool has only the public attributes")

    def __setattr__(self, name: str, value: Any) -> NoReturn:
        raise AttributeError(f"{name!r}: change it on the manager, or give it to its constructor")

    def __repr__(self) -> str:
        return f"<pool of {self._manager!r}>"

    @property
    def min_size(self) -> int:
        return self._manager.min_size

    @property
    def max_size(self) -> int:
        return self._manager.max_size

    @property
    def closed(self) -> bool:
        return self._manager.closed

    # -- life ----------------------------------------------------------------------------------

    async def open(self, wait: bool = False, timeout: float = 30.0) -> None:
        await self._manager.open(wait, timeout)

    async def close(self, timeout: float | None = None) -> None:
        await (self._manager.close() if timeout is None else self._manager.close(timeout))

    async def __aenter__(self) -> Self:
        await self._manager.open()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        await self._manager.close()

    async def wait(self, timeout: float = 30.0) -> None:
        await self._manager.wait(timeout)

    # -- connections ---------------------------------------------------------------------------

    def connection(self, timeout: float | None = None) -> _AsyncGeneratorContextManager[ACT]:
        return self._manager.connection(timeout)

    async def getconn(self, timeout: float | None = None) -> ACT:
        return await self._manager.getconn(timeout)

    async def putconn(self, conn: ACT) -> None:
        await self._manager.putconn(conn)

    async def drain(self) -> None:
        await self._manager.drain()

    async def check(self) -> None:
        await self._manager.check()

    async def resize(self, min_size: int, max_size: int | None = None) -> None:
        await self._manager.resize(min_size, max_size)

    def get_stats(self) -> dict[str, int]:
        return self._manager.get_stats()

    def pop_stats(self) -> dict[str, int]:
        return self._manager.pop_stats()

    # -- not meant for others, and used by some ------------------------------------------------

    async def _resolve_conninfo(self) -> str:
        return await self._beside.conninfo()

    async def _resolve_kwargs(self) -> dict[str, Any]:
        return await self._beside.arguments()

    # The machinery of psycopg_pool, which does not run here.
    run_task = schedule_task = reconnect_failed = worker = _not_here
