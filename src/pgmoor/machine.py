"""What runs while a manager is open: the desk, the steering and the monitor, put together."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from time import monotonic
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

import anyio

from ._core.manager.snapshot import grade
from .access import Access
from .asked import Asked
from .checkout import Desk
from .counters import Counters, DialCounter
from .health import Health, PoolFigures
from .monitor import Monitor
from .pool import Hooks, HostPool
from .saturation import Saturation
from .steering import Steering

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from psycopg import AsyncConnection

    from .config import Settings
    from .connection import ManagedConnection
    from .errors import NoHostAvailable
    from .events import Event
    from .hosts import Host
    from .instruments import Instrument
    from .listeners import Listeners
    from .sizes import Sizes


class Machine:
    """The moving parts of one manager, from `open()` to `close()`."""

    def __init__(
        self,
        settings: Settings,
        listeners: Listeners,
        *,
        connection_class: type[AsyncConnection[Any]],
        configure: Callable[[Any], Awaitable[None]] | None,
        check: Callable[[Any], Awaitable[None]] | None,
        reset: Callable[[Any], Awaitable[None]] | None,
        instruments: list[Instrument],
        refusal: Callable[[], Exception | None],
        give_back: Callable[[ManagedConnection], Awaitable[None]],
    ) -> None:
        self._settings = settings
        self._listeners = listeners
        self.sizes = settings.sizes
        self._fresh: Asked | None = None
        if settings.sources:
            self._fresh = Asked(settings)
        self._accesses: dict[int, Access] = {}
        self._connection_class = connection_class
        self._configure = configure
        self._check = check
        self._reset = reset
        self._refusal = refusal
        self.desk = Desk(
            settings,
            checks=check is not None,
            instruments=instruments,
            figures=self.figures,
            unavailable=self._unavailable,
            refusal=self._refuse,
            timed_out=self._timed_out,
            saturated=Saturation(settings.name, self._emit).refused,
        )
        self._instruments = instruments
        self.steering = Steering(
            settings,
            self.desk,
            make_pool=self._make_pool,
            emit=self._emit,
            instruments=instruments,
        )
        self.monitor = Monitor(
            settings,
            self._access_to,
            self.steering,
            self.desk,
            emit=self._emit,
            instruments=instruments,
        )
        self._dials = DialCounter()
        self._pools: WeakSet[HostPool] = WeakSet()
        self._hooks = Hooks(
            instruments=instruments,
            dials=self._dials,
            observe=self.steering.observe,
            accepts=self.steering.accepts,
            dial_failed=self.steering.dial_failed,
            trouble=self.steering.trouble,
            give_back=give_back,
            changed=self.steering.signal.notify,
        )
        self._task: asyncio.Task[None] | None = None

    @property
    def alive(self) -> bool:
        """Whether the background tasks run."""
        return self._task is not None and not self._task.done()

    def start(self) -> None:
        """Begin to look for a host, in the background."""
        self.desk.open()
        self.steering.start()
        self._task = asyncio.create_task(self.monitor.run(), name=f"{self._settings.name}-monitor")

    async def stop(self, deadline: float, caller: asyncio.Task[Any] | None) -> None:
        """End everything; connections that are held get until *deadline* to come back.

        Not waited for: those that *caller*, who wants this, holds itself.
        """
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task], timeout=max(deadline - monotonic(), 0.1))
        self.steering.stop()
        await self._await_returns(deadline, caller)
        pools = list(self.steering.left_pools)
        for pool in pools:
            pool.leave("the manager is closed", abort=True)
        left = max(deadline - monotonic(), 0.1)
        await asyncio.gather(*(pool.aclose(left) for pool in pools))
        for shared in (self._fresh, *self._accesses.values()):
            if shared is not None:
                shared.cancel()

    async def _await_returns(self, deadline: float, caller: asyncio.Task[Any] | None) -> None:
        """Wait until all connections that others hold have come back, or until *deadline*."""
        pools = self.steering.left_pools
        with anyio.move_on_after(max(deadline - monotonic(), 0.0)):
            await self.steering.signal.until(
                lambda: (
                    not any(
                        conn.holder not in (None, caller)
                        for pool in pools
                        for conn in pool.connections
                    )
                )
            )

    def filled(self) -> bool:
        """Return whether the pool holds `min_size` connections."""
        pool = self.desk.pool
        return pool is not None and len(pool.connections) >= self.sizes.min_size

    def figures(self) -> PoolFigures:
        """Return the pool's figures as they are now."""
        pool = self.desk.pool
        used = pool.used if pool is not None else 0
        # One that its holder has closed takes a place until it comes back.
        size = max(len(pool.connections), used) if pool is not None else 0
        return PoolFigures(
            size=size,
            used=used,
            idle=max(size - used, 0),
            waiting=len(self.desk.waiting),
            min_size=self.sizes.min_size,
            max_size=self.sizes.max_size,
            max_overflow=self.sizes.max_overflow,
            kept=self.sizes.kept,
        )

    async def resize(self, sizes: Sizes) -> None:
        """Change the limits of the pool in use, of one being filled, and of those to come."""
        self.sizes = sizes
        for pool in tuple(self._pools):
            if pool.left is None:
                await pool.resize(sizes)
        self.desk.feed()

    def stats(self, *, anew: bool = False) -> dict[str, int]:
        """Return figures and counters under psycopg_pool's names; *anew* resets the counters."""
        figures = self.figures()
        counters, dials = self.desk.counters, self._dials.to_dict()
        if anew:
            self.desk.counters = Counters()
            self._dials.reset()
        return {
            **counters.to_dict(),
            **dials,
            "requests_waiting": figures.waiting,
            "pool_min": figures.min_size,
            "pool_max": figures.max_size,
            "pool_size": figures.size,
            "pool_available": figures.idle,
        }

    def health(self) -> Health:
        """Return the report, from memory."""
        steering, table = self.steering, self.steering.table
        pool, now = self.figures(), monotonic()
        hosts = table.report(steering.current, now)
        empty = steering.why_empty()
        status, reason = grade(steering.state, pool, hosts, str(empty) if empty else None)
        return Health(
            live=self.alive,
            ready=steering.serving and empty is None,
            status=status,
            state=steering.state.value,
            reason=reason,
            since=now - steering.state_since,
            pool=pool,
            hosts=hosts,
            name=self._settings.name,
        )

    def _access_to(self, host: Host) -> Access:
        """Return the way to a host, which its probe and its pool share."""
        for index in [i for i in self._accesses if not self.steering.table.is_known(i)]:
            self._accesses.pop(index).cancel()
        if host.index not in self._accesses:
            self._accesses[host.index] = Access(self._settings, host, self._fresh)
        return self._accesses[host.index]

    def _make_pool(self, host: Host) -> HostPool:
        pool = HostPool(
            self._settings,
            self._access_to(host),
            host,
            self._hooks,
            connection_class=self._connection_class,
            configure=self._configure,
            check=self._check,
            reset=self._reset,
            sizes=self.sizes,
        )
        self._pools.add(pool)
        return pool

    def _emit(self, event: Event) -> None:
        named = replace(event, manager=self._settings.name)
        for instrument in self._instruments:
            instrument.happened(named)
        self._listeners.emit(named)

    def _unavailable(self, timeout: float) -> NoHostAvailable | None:
        return self.steering.unavailable(timeout)

    def _refuse(self) -> Exception | None:
        return self._refusal() or self.steering.refusal()

    def _timed_out(self) -> None:
        self.steering.nudge("a caller waited in vain")
