"""The background tasks of an open manager, apart from the probes.

They decide, reconnect, ping idle connections, look for connections held too long, and ask for the
list of hosts.
"""

from __future__ import annotations

import asyncio
import logging
import traceback
from time import monotonic
from typing import TYPE_CHECKING

import anyio

from pgmoor import events as ev
from pgmoor._core.pool.idle import oldest_idle, take_idle_since
from pgmoor._core.reporting.log_fields import fields
from pgmoor._core.settings.calls import CallableFailed
from pgmoor._core.util.awake_limit import LATE
from pgmoor._core.util.backoff import delays, spread

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from anyio.abc import TaskGroup

    from pgmoor._core.connection.managed import ManagedConnection
    from pgmoor._core.pool.checkout_queue import CheckoutQueue
    from pgmoor._core.state.live import LiveState

    from .controller import FailoverController
    from .probing import Probing
    from .quiet import Quiet

logger = logging.getLogger("pgmoor.monitor")

SEARCHING_INTERVAL = 1.0  # seconds between calls for the list of hosts while none qualifies


class Background:
    """Owns the background tasks while the manager is open."""

    def __init__(
        self,
        live: LiveState,
        queue: CheckoutQueue,
        controller: FailoverController,
        probing: Probing,
        quiet: Quiet,
    ) -> None:
        self._settings = live.settings
        self._evidence = live.evidence
        self._phase = live.phase
        self._reporter = live.reporter
        self._instruments = live.instruments
        self._queue = queue
        self._controller = controller
        self._probing = probing
        self._quiet = quiet
        self._group: TaskGroup | None = None
        self._fell_quiet = False
        self._old_list = False
        self._running: set[str] = set()

    async def run(self) -> None:
        """Run all background tasks that are needed; ends by cancellation only."""
        while self._phase.quiet or await self._run_awake():
            await self._quiet.over()

    async def _run_awake(self) -> bool:
        """Run them; return whether they have ended because the manager fell quiet.

        Else something has cancelled one of them.
        """
        self._fell_quiet = False
        try:
            async with anyio.create_task_group() as group:
                self._group = group
                self._running.clear()
                group.start_soon(self._controller.run, name="pgmoor-failover")
                self._probing.start()
                self._start(self._keep_alive, "pgmoor-keepalive")
                if self._settings.held_warning is not None:
                    self._start(self._check_holders, "pgmoor-holders")
                if self._quiet.after is not None:
                    self._start(self._fall_quiet, "pgmoor-quiet")
                if self._settings.discovery is not None:
                    self._start(self._discover, "pgmoor-discovery")
                self._phase.on_search = self._start_reconnecting
                if self._phase.searching.is_set():
                    self._start_reconnecting()
        finally:
            self._group = None
            self._probing.close()
        return self._fell_quiet

    def _start(
        self,
        work: Callable[[], Awaitable[None]],
        name: str,
        needed: Callable[[], bool] = lambda: True,
    ) -> None:
        if self._group is not None and name not in self._running:
            self._running.add(name)
            self._group.start_soon(self._repeat, work, name, needed, name=name)

    def _start_reconnecting(self) -> None:
        self._start(self._reconnect, "pgmoor-reconnect", self._phase.searching.is_set)

    async def _repeat(
        self, work: Callable[[], Awaitable[None]], name: str, needed: Callable[[], bool]
    ) -> None:
        """Repeat *work* while it is *needed*; a turn that fails is logged and does not end it."""
        try:
            while needed():
                try:
                    await work()
                except Exception:
                    extra = fields("InternalError", self._settings.name, task=name)
                    logger.exception("%s failed; going on", name, extra=extra)
                    await asyncio.sleep(1.0)
        finally:
            self._running.discard(name)

    async def _fall_quiet(self) -> None:
        left = self._quiet.left()
        if left <= 0 and self._group is not None:
            self._quiet.fall()
            self._fell_quiet = self._old_list = True
            self._group.cancel_scope.cancel()
        await asyncio.sleep(max(left, 0.0))

    # -- hosts ---------------------------------------------------------------------------------

    async def _discover(self) -> None:
        """Call for the list of hosts: at its interval, and more often during a search.

        After having been quiet at once: the list may be old.
        """
        discovery = self._settings.discovery
        assert discovery is not None
        old, self._old_list = self._old_list, False
        with anyio.move_on_after(0 if old else spread(self._settings.hosts_interval)):
            await self._phase.searching.wait()
            await asyncio.sleep(spread(SEARCHING_INTERVAL))
        try:
            hosts = await discovery.call_within(self._settings.connect_timeout)
        except CallableFailed as error:
            self._reporter.list_unknown(error.failure)
        else:
            self._controller.revise(hosts)
        self._probing.follow_list()

    async def _reconnect(self) -> None:
        """While no host is in use, probe those that are down again and again, ever more slowly."""
        began = monotonic()
        most, longest = self._settings.max_tries, self._settings.max_time
        waits = delays(self._settings.backoff_base, self._settings.backoff_cap)
        reported = False
        for tries, delay in enumerate(waits, start=1):
            for instrument in self._instruments:
                instrument.searched()
            self._probing.retry_lost()
            last = most is not None and tries >= most
            found, lost = await self._found(self._settings.health_timeout if last else delay)
            if found:
                return
            began += lost
            spent = monotonic() - began
            if spent >= self._settings.reconnect_timeout and not reported:
                reported = True
                self._reporter.tell(ev.ReconnectFailed(seconds=spent))
            if last or (longest is not None and spent >= longest):
                self._controller.give_up(tries, spent)
                return

    async def _found(self, seconds: float) -> tuple[bool, float]:
        """Wait for a host, for so many *seconds*; return whether there is one, and the lost time.

        That is how long the event loop stood still, in seconds. Then there may be answers to read.
        """
        due = monotonic() + seconds
        with anyio.move_on_after(seconds):
            await self._phase.found.wait()
        lost = monotonic() - due
        if lost <= LATE:
            return not self._phase.searching.is_set(), 0.0
        with anyio.move_on_after(max(seconds, LATE)):
            await self._phase.found.wait()
        return not self._phase.searching.is_set(), lost

    # -- connections ---------------------------------------------------------------------------

    async def _keep_alive(self) -> None:
        """Ping the connection that has been idle longest, when it has been so for too long."""
        interval = self._settings.keepalive_interval
        pool = self._queue.pool
        oldest = oldest_idle(pool) if pool is not None else None
        due = monotonic() + interval if oldest is None else oldest + interval
        await asyncio.sleep(min(max(due - monotonic(), 0.0), interval))
        if pool is None or pool is not self._queue.pool or monotonic() < due:
            return
        conn = take_idle_since(pool, monotonic() - interval)
        if conn is None:
            await asyncio.sleep(min(1.0, interval))
            return
        try:
            if not await pool.verify(conn):
                self._evidence.suspect("an idle connection broke")
        finally:
            self._queue.place(conn)

    async def _check_holders(self) -> None:
        """Report each connection that is held for longer than `held_warning`, once."""
        limit = self._settings.held_warning
        assert limit is not None
        await asyncio.sleep(min(limit / 4, 60.0))
        now = monotonic()
        for conn in self._queue.ledger.holders():
            if conn.reported != conn.lease and now - conn.held_since > limit:
                conn.reported = conn.lease
                self._report_holder(conn, now - conn.held_since)

    def _report_holder(self, conn: ManagedConnection, seconds: float) -> None:
        task = conn.holder
        name = task.get_name() if task is not None else "no task"
        frames = task.get_stack(limit=12) if task is not None else []
        lines = (line for frame in frames for line in traceback.format_stack(frame, limit=1))
        stack = "".join(lines)
        event = ev.HeldTooLong(task=name, seconds=seconds, stack=stack)
        self._reporter.tell(event, logger, f"{event}\n{stack}")
