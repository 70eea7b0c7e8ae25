"""What runs while a manager is open, put together."""

from __future__ import annotations

import asyncio
import logging
from time import monotonic
from typing import TYPE_CHECKING, Any

import anyio

from pgmoor._core.connection.abortable import BAD, AbortableConnection
from pgmoor._core.connection.users_class import mixed
from pgmoor._core.dialling.connector import Connectors
from pgmoor._core.dialling.credentials import Credentials
from pgmoor._core.failover.background import Background
from pgmoor._core.failover.controller import FailoverController
from pgmoor._core.failover.host_pools import HostPools
from pgmoor._core.failover.probing import Probing
from pgmoor._core.failover.quiet import Quiet
from pgmoor._core.pool.checkout_queue import CheckoutQueue
from pgmoor._core.pool.ledger import Ledger
from pgmoor._core.reporting.counters import Counters, DialCounter
from pgmoor._core.reporting.log_fields import fields
from pgmoor._core.reporting.reporter import Reporter
from pgmoor._core.state.live import LiveState
from pgmoor._core.util.asynctools import spawn, tasks_that_await
from pgmoor._core.work.work import Work

from .snapshot import snapshot

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgmoor._core.failover.host_watch import HostWatch
    from pgmoor._core.pool.callbacks import Callbacks
    from pgmoor._core.reporting.listeners import Listeners
    from pgmoor._core.settings.settings import Settings
    from pgmoor._core.settings.sizes import Sizes
    from pgmoor.health import Health
    from pgmoor.instruments import Instrument


logger = logging.getLogger("pgmoor.manager")

RESTART_AFTER = 1.0  # seconds
LOOK_AGAIN = 0.05  # seconds between two looks at who waits for `close()`


class Runtime:
    """The parts of one manager, from `open()` to `close()`."""

    def __init__(
        self,
        settings: Settings,
        listeners: Listeners,
        callbacks: Callbacks,
        *,
        watch: HostWatch,
        instruments: list[Instrument],
        unusable: Callable[[], Exception | None],
    ) -> None:
        self._settings = settings
        self._dials = DialCounter()
        self._task: asyncio.Task[None] | None = None
        self._stopping = False
        self.live = LiveState(
            settings, Reporter(settings.name, instruments, listeners), instruments
        )
        self.ledger = Ledger(settings.sizes)
        self.queue = CheckoutQueue(
            self.live, self.ledger, checks=callbacks.check is not None, unusable=unusable
        )
        self.work = Work(self.live, self.queue.checkout)
        credentials = Credentials(settings) if settings.callables else None
        is_known = self.live.evidence.table.is_known
        self.connectors = Connectors(settings, credentials, is_known)
        self.pools = HostPools(
            self.live,
            self.connectors,
            callbacks,
            ledger=self.ledger,
            lender=self.queue,
            dial_counter=self._dials,
        )
        self.controller = FailoverController(self.live, self.queue, self.pools)
        probes_class = mixed(AbortableConnection, callbacks.connection_class)
        self.probing = Probing(self.live, self.connectors, probes_class, watch)
        quiet = Quiet(self.live, self.queue, self.pools, self.controller)
        self._background = Background(self.live, self.queue, self.controller, self.probing, quiet)

    @property
    def alive(self) -> bool:
        """Whether the background tasks run."""
        return self._task is not None and not self._task.done() and self.probing.alive

    def start(self) -> None:
        """Begin to look for a host, in the background."""
        self.queue.open()
        self.controller.start()
        self._run_background()

    def _run_background(self) -> None:
        if not self._stopping:
            self._task = spawn(self._background.run(), f"{self._settings.name}-background")
            self._task.add_done_callback(self._background_ended)

    def _background_ended(self, task: asyncio.Task[None]) -> None:
        """Start the background tasks again, unless the manager is being closed.

        Something else has cancelled one of them. After a pause: it may be the end of the loop.
        """
        if self._stopping:
            return
        error = None if task.cancelled() else task.exception()
        extra = fields("InternalError", self._settings.name, task=task.get_name())
        logger.error("%s ended; starting it again", task.get_name(), exc_info=error, extra=extra)
        task.get_loop().call_later(RESTART_AFTER, self._run_background)

    async def stop(self, deadline: float, caller: asyncio.Task[Any] | None) -> None:
        """End everything; connections that are held get until *deadline* to come back.

        Those that cannot come back before this has ended are not waited for: those that *caller*
        holds, the task that closes, and those of tasks that wait for this one.
        """
        self._stopping = True
        self.work.stop()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task], timeout=max(deadline - monotonic(), 0.1))
        self.controller.stop()
        await self.probing.ended(max(deadline - monotonic(), 0.1))
        await self._await_returns(deadline, caller)
        pools = list(self.pools.retired)
        for pool in pools:
            pool.retire("the manager is closed", abort=True)
        remaining = max(deadline - monotonic(), 0.1)
        await asyncio.gather(*(pool.tasks.aclose(remaining) for pool in pools))
        self.connectors.cancel()

    async def _await_returns(self, deadline: float, caller: asyncio.Task[Any] | None) -> None:
        """Wait until all connections that others hold have come back, or until *deadline*."""
        me = asyncio.current_task()
        assert me is not None

        def all_back() -> bool:
            held = (conn for conn in self.ledger.holders() if conn.pgconn.status != BAD)
            holders = {conn.holder for conn in held} - {caller}
            return not holders or holders <= tasks_that_await(me)

        while not all_back() and (left := deadline - monotonic()) > 0:
            with anyio.move_on_after(min(left, LOOK_AGAIN)):  # a holder may begin to wait
                await self.live.evidence.notifier.until(all_back)

    def cut(self) -> None:
        """Close every connection of the pools at once, without waiting for anything."""
        self._stopping = True
        if self._task is not None:
            self._task.cancel()
        self.controller.stop()
        for pool in self.pools.retired:
            pool.retire("the manager is closed", abort=True)
        for conn in tuple(self.ledger.connections):
            conn.discard()
        self.connectors.cancel()

    def resize(self, sizes: Sizes) -> None:
        """Change the limits of every pool, and of those to come."""
        self.pools.resize(sizes)
        self.queue.feed()
        self.live.evidence.notifier.notify()

    def stats(self, *, reset: bool = False) -> dict[str, int]:
        """Return figures and counters under psycopg_pool's names; *reset* the counters."""
        figures = self.queue.figures()
        counters, dials = self.queue.counters, self._dials.to_dict()
        if reset:
            self.queue.counters = Counters()
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
        figures = self.queue.figures()
        pool = self.queue.pool
        empty = self.live.availability.why_empty(pool.size) if pool is not None else None
        failing = self.live.availability.why_not_growing()
        return snapshot(
            self._settings.name,
            self.live.phase,
            self.live.availability.hosts(),
            figures,
            repeats=self.work.budget.figures(),
            live=self.alive,
            empty=str(empty) if empty else None,
            failing=str(failing) if failing else None,
        )
