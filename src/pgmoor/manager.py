"""`ConnectionManager`: the facade over the desk, the steering and the monitor; their lifecycle."""

from __future__ import annotations

import asyncio
import itertools
import logging
from dataclasses import replace
from time import monotonic
from typing import TYPE_CHECKING, Any, Self

import anyio
from psycopg import AsyncConnection

from .checkout import Checkout, Desk
from .config import Failback, WhenDown, make_settings
from .connection import ManagedConnection
from .errors import ManagerClosed, NoHostAvailable, PoolFigures
from .events import Event, EventStream, Listeners
from .health import Health, grade, host_health
from .monitor import Monitor
from .pool import Hooks, HostPool
from .steering import Steering

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from types import TracebackType

    from .hosts import Host

logger = logging.getLogger("pgmoor.manager")

_numbers = itertools.count(1)


class ConnectionManager:
    """Keeps an asyncio program connected to PostgreSQL. All durations are in seconds."""

    def __init__(
        self,
        conninfo: str = "",
        *,
        hosts: Sequence[str] | None = None,
        target: str | None = None,
        connection_class: type[AsyncConnection[Any]] = AsyncConnection,
        kwargs: Mapping[str, Any] | None = None,
        configure: Callable[[Any], Awaitable[None]] | None = None,
        reset: Callable[[Any], Awaitable[None]] | None = None,
        name: str | None = None,
        min_size: int = 4,
        max_size: int | None = None,
        timeout: float = 30.0,
        max_waiting: int = 0,
        max_lifetime: float = 3600.0,
        max_idle: float = 600.0,
        close_returns: bool = False,
        health_interval: float = 1.0,
        health_timeout: float = 1.0,
        keepalive_interval: float = 30.0,
        validate_after: float = 1.0,
        stall_timeout: float = 15.0,
        settle: float = 0.2,
        failback: Failback = "auto",
        failback_after: float = 30.0,
        cancel_timeout: float = 1.0,
        close_timeout: float = 5.0,
        when_down: WhenDown = "wait",
        backoff_base: float = 0.05,
        backoff_cap: float = 1.0,
        max_tries: int | None = None,
        max_time: float | None = None,
        held_warning: float | None = 300.0,
        on_event: Callable[[Event], Any] | None = None,
    ) -> None:
        self._settings = make_settings(
            conninfo,
            hosts=hosts,
            kwargs=kwargs,
            target=target,
            name=name or f"pgmoor-{next(_numbers)}",
            min_size=min_size,
            max_size=max_size,
            timeout=timeout,
            max_waiting=max_waiting,
            max_lifetime=max_lifetime,
            max_idle=max_idle,
            close_returns=close_returns,
            health_interval=health_interval,
            health_timeout=health_timeout,
            keepalive_interval=keepalive_interval,
            validate_after=validate_after,
            stall_timeout=stall_timeout,
            settle=settle,
            failback=failback,
            failback_after=failback_after,
            cancel_timeout=cancel_timeout,
            close_timeout=close_timeout,
            when_down=when_down,
            backoff_base=backoff_base,
            backoff_cap=backoff_cap,
            max_tries=max_tries,
            max_time=max_time,
            held_warning=held_warning,
        )
        self._connection_class = connection_class
        self._configure = configure
        self._reset = reset
        self._on_event = on_event
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._opened = self._closed = False
        self._listeners = Listeners()
        self._desk = Desk(
            self._settings,
            figures=self._figures,
            unavailable=self._unavailable,
            refusal=self._refusal,
            timed_out=lambda: self._steering.nudge("a caller waited in vain"),
        )
        self._steering = Steering(
            self._settings, self._desk, make_pool=self._make_pool, emit=self._emit
        )
        self._hooks = Hooks(
            observe=self._steering.observe,
            accepts=self._steering.accepts,
            dial_failed=self._steering.dial_failed,
            trouble=self._steering.trouble,
            give_back=self.putconn,
            changed=self._steering.signal.notify,
        )

    def __repr__(self) -> str:
        hosts = ",".join(host.label for host in self._settings.hosts)
        return f"<ConnectionManager {self.name!r} {self._steering.state.value} [{hosts}]>"

    # -- life ----------------------------------------------------------------------------------

    async def open(self, wait: bool = False, timeout: float = 30.0) -> None:
        """Start: find the host, fill the pool. Succeeds when the database is down.

        With *wait*, wait up to *timeout* seconds until the pool holds `min_size` connections, and
        raise `NoHostAvailable` or `PoolExhausted` if it doesn't; the manager stays open and usable.
        A closed manager can't be opened again: `ManagerClosed`.
        """
        if self._closed:
            raise ManagerClosed(f"{self.name!r} was closed; make a new ConnectionManager")
        if not self._opened:
            self._opened = True
            self._loop = asyncio.get_running_loop()
            self._desk.open()
            if self._on_event is not None:
                self._listeners.subscribe(self._on_event)
            self._monitor = Monitor(self._settings, self._steering, self._desk, emit=self._emit)
            self._steering.start()
            self._task = asyncio.create_task(self._monitor.run(), name=f"{self.name}-monitor")
        self._check_usable()
        if wait:
            await self.wait(timeout)

    async def close(self, timeout: float | None = None) -> None:
        """Stop: callers who wait meet `ManagerClosed`; idle connections close at once.

        Held connections may come back for *timeout* seconds (default `close_timeout`), then they
        are cut, so that nothing hangs on a silent server. Not waited for: connections that the
        calling task holds itself. Returns within *timeout* and a moment. Closing twice is harmless.
        """
        if self._closed or not self._opened:
            self._closed = True
            return
        self._closed = True
        limit = self._settings.close_timeout if timeout is None else timeout
        deadline = monotonic() + limit
        self._desk.fail_all(lambda: ManagerClosed(f"{self.name!r} was closed"))
        assert self._task is not None
        self._task.cancel()
        await asyncio.wait([self._task], timeout=limit)
        self._steering.stop()
        await self._await_returns(deadline)
        for pool in self._steering.left_pools:
            pool.leave("the manager is closed", abort=True)
            await pool.aclose()
        await self._listeners.aclose(max(deadline - monotonic(), 0.1))
        logger.info("%r is closed", self.name)

    async def _await_returns(self, deadline: float) -> None:
        """Wait until all connections that others hold have come back, or until *deadline*."""
        me = asyncio.current_task()
        pools = self._steering.left_pools
        with anyio.move_on_after(max(deadline - monotonic(), 0.0)):
            await self._steering.signal.until(
                lambda: (
                    not any(
                        conn.holder not in (None, me) for pool in pools for conn in pool.connections
                    )
                )
            )

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    # -- connections ---------------------------------------------------------------------------

    def connection(self, timeout: float | None = None) -> Checkout:
        """Return a context manager that lends a working connection.

        On exit the transaction is committed, or rolled back when an exception passes; then the
        connection goes back. *timeout* is how long to wait for one (default: `timeout` of the
        manager). Raises `PoolExhausted`, `NoHostAvailable`, `TooManyRequests`, `ManagerClosed`, and
        `CommitOutcomeUnknown` when the connection is lost during the commit.
        """
        return Checkout(self._desk, timeout)

    async def getconn(self, timeout: float | None = None) -> ManagedConnection:
        """Take a connection; give it back with `putconn()`. Prefer `connection()`."""
        return await self._desk.take(timeout)

    async def putconn(self, conn: AsyncConnection[Any]) -> None:
        """Give back what `getconn()` gave; an open transaction is rolled back.

        Raises `ValueError` for a connection that is not held, or not this manager's.
        """
        pool = getattr(conn, "host_pool", None)
        if pool is None or pool.settings is not self._settings:
            raise ValueError("the connection does not come from this manager")
        assert isinstance(conn, ManagedConnection)
        if conn.holder is None:
            raise ValueError("the connection has been given back already")
        await self._desk.give(conn)

    async def drain(self) -> None:
        """Renew every connection: idle ones now, held ones when they come back."""
        self._check_usable()
        if self._desk.pool is not None:
            await self._desk.pool.drain()

    # -- waiting and asking --------------------------------------------------------------------

    async def wait(self, timeout: float = 30.0) -> None:
        """Wait until the pool holds `min_size` connections.

        Raises `NoHostAvailable` after *timeout* seconds. Unlike `AsyncConnectionPool.wait()` it
        leaves the manager open.
        """
        await self._wait_until(self._filled, timeout)

    async def wait_ready(self, timeout: float = 30.0) -> None:
        """Wait until a host is in use; raise `NoHostAvailable` after *timeout* seconds."""
        await self._wait_until(lambda: self._steering.serving, timeout)

    def _filled(self) -> bool:
        pool = self._desk.pool
        return pool is not None and len(pool.connections) >= self._settings.min_size

    async def _wait_until(self, condition: Callable[[], bool], timeout: float) -> None:
        refused: Exception | None = None

        def settled() -> bool:
            nonlocal refused
            refused = self._refusal()
            return refused is not None or condition()

        with anyio.move_on_after(timeout):
            await self._steering.signal.until(settled)
        if refused is not None:
            raise refused
        if not condition():
            raise NoHostAvailable(f"not ready within {timeout:.2f} s", tuple(self._steering.table))

    async def health(self, *, fresh: bool = False, timeout: float | None = None) -> Health:
        """Return the manager's condition, from memory.

        With *fresh* every host is probed first, for *timeout* seconds at most (default
        `health_timeout`).
        """
        if fresh and self._task is not None and not self._closed:
            await self._monitor.probe_all(
                self._settings.health_timeout if timeout is None else timeout
            )
        steering = self._steering
        table = steering.table
        pool = self._figures()
        hosts = tuple(
            host_health(
                state,
                current=state.host.index == steering.current,
                stale=table.is_stale(state),
            )
            for state in table
        )
        status, reason = grade(steering.state, pool, hosts)
        return Health(
            live=self._task is not None and not self._task.done(),
            ready=steering.serving,
            status=status,
            state=steering.state.value,
            reason=reason,
            since=monotonic() - steering.state_since,
            pool=pool,
            hosts=hosts,
        )

    def get_stats(self) -> dict[str, int]:
        """Return figures and counters under the names that `AsyncConnectionPool` uses."""
        pool = self._desk.pool
        inner = pool.inner.get_stats() if pool is not None else {}
        figures = self._figures()
        return {
            **inner,
            **self._desk.snapshot(),
            "pool_min": figures.min_size,
            "pool_max": figures.max_size,
            "pool_size": figures.size,
            "pool_available": figures.idle,
        }

    def reconnect(self) -> None:
        """Start to search anew after the manager has given up (`max_tries`, `max_time`)."""
        self._check_usable()
        self._steering.restart()

    def failback(self) -> None:
        """Go back to a preferred host that qualifies, without waiting for `failback_after`."""
        self._check_usable()
        self._steering.failback()

    # -- events --------------------------------------------------------------------------------

    def events(self) -> EventStream:
        """Return an async iterator over the events from now on; it ends with the manager."""
        return self._listeners.stream()

    def subscribe(self, callback: Callable[[Event], Any]) -> Callable[[], None]:
        """Call *callback*, a function or a coroutine function, with each event from now on.

        Each callback has its own queue and task; one that fails is logged. A plain function runs
        in the event loop and must not block. Returns a function that ends the subscription.
        """
        return self._listeners.subscribe(callback)

    # -- what it is ----------------------------------------------------------------------------

    @property
    def name(self) -> str:
        """The name in logs, events and metrics."""
        return self._settings.name

    @property
    def closed(self) -> bool:
        """Whether the manager is closed, or not open yet."""
        return self._closed or not self._opened

    @property
    def min_size(self) -> int:
        """The least number of connections that the pool keeps."""
        return self._settings.min_size

    @property
    def max_size(self) -> int:
        """The greatest number of connections that the pool makes."""
        return self._settings.max_size

    @property
    def timeout(self) -> float:
        """How long `connection()` waits by default, in seconds."""
        return self._settings.timeout

    # -- inside --------------------------------------------------------------------------------

    def _figures(self) -> PoolFigures:
        pool = self._desk.pool
        size = len(pool.connections) if pool is not None else 0
        used = pool.used if pool is not None else 0
        return PoolFigures(
            size=size,
            used=used,
            idle=max(size - used, 0),
            waiting=self._desk.queued,
            min_size=self._settings.min_size,
            max_size=self._settings.max_size,
        )

    def _make_pool(self, host: Host) -> HostPool:
        return HostPool(
            self._settings,
            host,
            self._hooks,
            connection_class=self._connection_class,
            configure=self._configure,
            reset=self._reset,
            sizes=(self._settings.min_size, self._settings.max_size),
        )

    def _emit(self, event: Event) -> None:
        self._listeners.emit(replace(event, name=self.name))

    def _unavailable(self, timeout: float) -> NoHostAvailable | None:
        return self._steering.unavailable(timeout)

    def _refusal(self) -> Exception | None:
        if self._closed or not self._opened:
            return self._why_unusable()
        return self._steering.refusal()

    def _check_usable(self) -> None:
        if (error := self._why_unusable()) is not None:
            raise error

    def _why_unusable(self) -> ManagerClosed | None:
        if self._closed:
            return ManagerClosed(f"{self.name!r} is closed")
        if not self._opened:
            return ManagerClosed(f"{self.name!r} is not open yet; use 'async with' or open()")
        if self._loop is not asyncio.get_running_loop():
            return ManagerClosed(
                f"{self.name!r} was opened in another event loop; use one manager for each loop"
            )
        return None
