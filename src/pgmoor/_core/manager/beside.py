"""Connections that a library makes for itself, with what its pool tells it: the manager dials them.

A library that listens wants a connection of its own. It asks its pool for the conninfo, and calls
`connect()` of the pool's `connection_class`. Dialled past the manager, that connection would stay
on a host that was left. So the conninfo is known by its type, and leads back here.
"""

from __future__ import annotations

import math
from time import monotonic
from typing import TYPE_CHECKING, Any, NoReturn, Self, TypeVar, cast

import anyio
from psycopg import AsyncConnection
from psycopg.conninfo import make_conninfo

from pgmoor._core.connection.managed import ManagedConnection, managed
from pgmoor._core.dialling.dialler import HostLeft
from pgmoor._core.dialling.users_connect import ConnectFailed
from pgmoor._core.settings.conninfo import CONNECT_ARGUMENTS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from pgmoor._core.hosts.host import Host
    from pgmoor._core.pool.host_pool import HostPool
    from pgmoor._core.settings.parameters import ConnectParams
    from pgmoor._core.settings.settings import Settings

    from .runtime import Runtime

    Dial = Callable[[dict[str, Any]], Awaitable[ManagedConnection]]

# Parameters of libpq that no server refuses.
_HARMLESS = frozenset({"application_name", "fallback_application_name"})

A = TypeVar("A", bound=AsyncConnection[Any])


class ManagersConninfo(str):
    """A conninfo that a manager has given away, and the way back to it; its repr hides it."""

    __slots__ = ("dial",)
    dial: Dial

    def __new__(cls, text: str, dial: Dial) -> Self:
        made = super().__new__(cls, text)
        made.dial = dial
        return made

    def __repr__(self) -> str:
        return "<conninfo>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a conninfo can't be pickled: it may hold a password")

    def __deepcopy__(self, _: object) -> Self:
        return self  # a library may copy what it was configured with


class Beside:
    """Makes connections beside a manager's pool, for whoever has its conninfo."""

    def __init__(
        self,
        usable: Callable[[], Runtime],
        wait_ready: Callable[[float], Awaitable[None]],
        connection_class: type[AsyncConnection[Any]],
    ) -> None:
        self._usable = usable  # raises `ManagerClosed`
        self._wait_ready = wait_ready
        self._class = connection_class

    async def dial(self, arguments: dict[str, Any]) -> ManagedConnection:
        """Return a connection to the host in use, within the manager's `timeout`.

        *arguments* are those of `connect()` that are added to the manager's. It is tried again
        meanwhile, on whatever host comes into use. Raises `NoHostAvailable`, at once if the host
        refuses what *arguments* say of the login, or `ManagerClosed`.
        """
        kind = _with_arguments(managed(self._class), arguments)
        own_login = not arguments.keys() <= CONNECT_ARGUMENTS | _HARMLESS
        timeout = self._usable().live.settings.timeout
        deadline = monotonic() + timeout
        while True:
            pool = await self._pool_in_use(deadline)
            try:
                with anyio.fail_after(deadline - monotonic()):
                    return await pool.standalone.dial(pool, kind, own_login=own_login)
            except HostLeft:
                continue
            except ConnectFailed as failed:
                reason = f"no connection to {pool.host} as asked for: {failed}"
                raise self._usable().live.availability.error(reason) from None
            except TimeoutError:
                error = self._usable().live.availability.missing_host(timeout, made=0, used=0)
                assert error is not None
                raise error from None

    async def conninfo(self) -> str:
        """Return the conninfo of the host in use; wait for one, as `dial()` does."""
        settings = self._usable().live.settings
        pool = await self._pool_in_use(monotonic() + settings.timeout)
        text, _ = settings.connect_call(pool.host, fresh=await self._fresh(pool.host))
        return ManagersConninfo(make_conninfo(text, connect_timeout=_seconds(settings)), self.dial)

    async def arguments(self) -> dict[str, Any]:
        """Return the arguments of psycopg's `connect()` that the conninfo can't say."""
        settings = self._usable().live.settings
        if not settings.callables:
            return dict(settings.connect_args)
        pool = await self._pool_in_use(monotonic() + settings.timeout)
        fresh = await self._fresh(pool.host)
        return dict(settings.connect_args if fresh is None else fresh.arguments)

    async def _fresh(self, host: Host) -> ConnectParams | None:
        """Return what the callables among the settings say now for a host."""
        runtime = self._usable()
        try:
            return await runtime.connectors.to(host).params()
        except ConnectFailed as error:
            reason = f"can't make a conninfo for {host}: {error}"
            raise runtime.live.availability.error(reason) from None

    async def _pool_in_use(self, deadline: float) -> HostPool:
        await self._wait_ready(max(deadline - monotonic(), 0.0))
        pool = self._usable().queue.pool
        assert pool is not None
        return pool


def conninfo_of(settings: Settings, dial: Dial) -> str:
    """Return a conninfo of all hosts that are known, with the target for libpq to look for."""
    hosts = settings.hosts
    params: dict[str, Any] = settings.secrets.reveal()
    params |= {
        "host": ",".join(host.host for host in hosts),
        "port": ",".join(str(host.port) for host in hosts),
        "target_session_attrs": settings.target.value,
        "connect_timeout": _seconds(settings),
    }
    if any(host.hostaddr for host in hosts):
        params["hostaddr"] = ",".join(host.hostaddr or "" for host in hosts)
    return ManagersConninfo(make_conninfo("", **params), dial)


def _seconds(settings: Settings) -> int:
    return max(math.ceil(settings.connect_timeout), 1)  # libpq takes whole seconds


def dialled_by_manager(connection_class: type[A]) -> type[A]:
    """Return a subclass whose `connect()` has the manager dial, if the conninfo is from one."""
    parent: Any = connection_class

    class Dialled(parent):  # type: ignore[misc]  # known at run time only
        @classmethod
        async def connect(cls, conninfo: str = "", **kwargs: Any) -> Any:
            if isinstance(conninfo, ManagersConninfo):
                return await conninfo.dial(kwargs)
            return await super().connect(conninfo, **kwargs)

    Dialled.__name__ = connection_class.__name__
    return cast("type[A]", Dialled)


def _with_arguments(
    connection_class: type[ManagedConnection], arguments: dict[str, Any]
) -> type[ManagedConnection]:
    """Return a subclass whose `connect()` has *arguments* as well, before any others."""
    parent: Any = connection_class

    class Connection(parent):  # type: ignore[misc]  # known at run time only
        @classmethod
        async def connect(cls, conninfo: str = "", **kwargs: Any) -> Any:
            return await super().connect(conninfo, **{**kwargs, **arguments})

    Connection.__name__ = connection_class.__name__
    return cast("type[ManagedConnection]", Connection)
