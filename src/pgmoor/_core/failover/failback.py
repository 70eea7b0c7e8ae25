"""Fills a preferred host's pool before callers move to it, and says so when that fails."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

from pgmoor import events as ev
from pgmoor._core.hosts.filling import LONGEST, STUCK_AFTER, Filling, Postponements, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgmoor._core.pool.checkout_queue import CheckoutQueue
    from pgmoor._core.pool.host_pool import HostPool
    from pgmoor._core.state.live import LiveState

    from .host_pools import HostPools
    from .wakefulness import Wakefulness

LOOK_EVERY = 0.02  # seconds; a new connection is no news for the controller


class FailbackFiller:
    """Makes the connections that a failback needs, and remembers where it could not."""

    def __init__(
        self, live: LiveState, queue: CheckoutQueue, pools: HostPools, wakefulness: Wakefulness
    ) -> None:
        self.postponements: Postponements = Postponements(live.settings.failback_after)
        self._automatic = live.settings.failback == "auto"
        self._evidence = live.evidence
        self._reporter = live.reporter
        self._queue = queue
        self._pools = pools
        self._wakefulness = wakefulness

    async def fill(self, pool: HostPool, still_wanted: Callable[[], bool]) -> bool:
        """Fill a preferred host's pool; return whether it may take over.

        If not, its connections are closed at once.
        """
        began = monotonic()
        filling = Filling(began)
        while still_wanted():
            made, full, needed = pool.size, self._pools.ledger.sizes.min_size, self._needed()
            verdict = filling.judge(made, full, needed, monotonic(), self._wakefulness.since)
            if verdict is Verdict.TAKE_OVER:
                self.postponements.clear()
                return True
            if verdict is Verdict.POSTPONE:
                self._postpone(pool, made, needed, monotonic() - began)
                return False
            self._evidence.changed.clear()
            await self._wakefulness.wait(monotonic() + LOOK_EVERY)
        self._pools.retired.retire(pool, "it could not take over", abort=True)
        self.postponements.hold_off(pool.host.index, monotonic())
        return False

    def _needed(self) -> int:
        """Return how many connections are enough: one for each caller who has or wants one."""
        figures = self._queue.figures()
        return max(1, min(figures.used + figures.waiting, figures.min_size))

    def _postpone(self, pool: HostPool, made: int, needed: int, seconds: float) -> None:
        host = pool.host
        failure = self._evidence.dial_failures.get(host.index)
        self._pools.retired.retire(pool, "it could not be filled", abort=True)
        wait = self.postponements.postpone(host.index, monotonic())
        slow = f"no other within {STUCK_AFTER:g} s" if seconds < LONGEST else "it takes too long"
        self._reporter.tell(
            ev.FailbackPostponed(
                host=host.label,
                made=made,
                wanted=needed,
                reason=slow if failure is None else failure.text,
                retry_after=wait if self._automatic else None,
            )
        )
