"""Lets a manager that nobody uses fall quiet: it holds no connection and asks no host.

A serverless database can go to sleep then. Whoever wants a connection wakes the manager, which
chooses a host as after `open()`, by new answers only; it remembers the timelines.
"""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING

from pgmoor import events as ev
from pgmoor.health import State

if TYPE_CHECKING:
    from pgmoor._core.pool.checkout_queue import CheckoutQueue
    from pgmoor._core.state.live import LiveState

    from .controller import FailoverController
    from .host_pools import HostPools


class Quiet:
    """Knows when the manager is to fall quiet, and what it does then and when it is woken."""

    def __init__(
        self,
        live: LiveState,
        queue: CheckoutQueue,
        pools: HostPools,
        controller: FailoverController,
    ) -> None:
        self.after = live.settings.quiet_after
        self._phase = live.phase
        self._reporter = live.reporter
        self._queue = queue
        self._pools = pools
        self._controller = controller
        self._woken = asyncio.Event()
        live.phase.on_wanted = self._wake

    def left(self) -> float:
        """Return the seconds until it may fall quiet, as far as is known now.

        A connection that is lent or that a library has made for itself, a caller who waits and a
        host in trouble keep it awake.
        """
        assert self.after is not None
        pool = self._queue.pool
        in_use = self._queue.ledger.held or len(self._queue.waiting)
        listening = pool is not None and pool.standalone.in_use
        if in_use or listening or self._phase.state is not State.READY:
            return self.after  # it can't be sooner
        return self._phase.used_at + self.after - monotonic()

    def fall(self) -> None:
        """Close the idle connections and use no host; the background tasks are to end now."""
        pool = self._queue.pool
        self._woken.clear()
        unused = monotonic() - self._phase.used_at
        self._queue.serve_from(None)
        self._phase.fall_quiet()
        if pool is not None:
            self._pools.retired.retire(pool, "the manager is quiet", abort=False)
        self._reporter.tell(ev.FellQuiet(seconds=unused))

    def _wake(self) -> None:
        """Choose a host again; the background tasks begin again."""
        self._controller.wake()
        self._woken.set()

    async def over(self) -> None:
        """Wait until somebody wants a connection."""
        await self._woken.wait()
