"""Probes all hosts, each in a task of its own, and keeps the pace."""

from __future__ import annotations

import asyncio
import logging
from time import monotonic
from typing import TYPE_CHECKING

import anyio

from pgmoor._core.hosts.failures import FailureKind
from pgmoor._core.hosts.probe_pace import BURST_FIRST, pace
from pgmoor._core.reporting.log_fields import fields
from pgmoor._core.util.backoff import spread
from pgmoor.health import Status

from .prober import Prober

if TYPE_CHECKING:
    from anyio.abc import TaskGroup

    from pgmoor._core.connection.abortable import AbortableConnection
    from pgmoor._core.dialling.connector import Connectors
    from pgmoor._core.hosts.host import Host, Observation
    from pgmoor._core.state.live import LiveState

logger = logging.getLogger("pgmoor.monitor")

MAX_AGE = 1.0  # seconds; see `_max_age()`


class Probing:
    """A prober for each host of the list and for the one in use."""

    def __init__(
        self,
        live: LiveState,
        connectors: Connectors,
        connection_class: type[AbortableConnection],
    ) -> None:
        self._settings = live.settings
        self._evidence = live.evidence
        self._phase = live.phase
        self._instruments = live.instruments
        self._connectors = connectors
        self._class = connection_class
        self._probers: dict[int, Prober] = {}  # by the hosts' indices
        self._group: TaskGroup | None = None
        self._tick_at = 0.0

    def start(self, group: TaskGroup) -> None:
        """Begin to probe, in tasks of *group*."""
        self._group = group
        self.follow_list()

    def follow_list(self) -> None:
        """Probe each host of the list and the one in use, and no other."""
        table, current = self._evidence.table, self._phase.current
        wanted = {state.host.index: state.host for state in table}
        if current is not None:
            wanted[current] = table[current].host
        for index in [index for index in self._probers if index not in wanted]:
            self._probers.pop(index).scope.cancel()
            self._evidence.requests.drop(index)
        assert self._group is not None
        for index, host in wanted.items():
            if index not in self._probers:
                prober = self._probers[index] = self._prober(host)
                self._group.start_soon(self._watch, prober, name=f"pgmoor-probe-{host}")

    def _prober(self, host: Host) -> Prober:
        requests = self._evidence.requests
        return Prober(
            self._settings,
            host,
            self._connectors.to(host),
            self._class,
            hearing=self._evidence.hearings.of(host.index),
            wake=lambda: requests.probe(host.index),
        )

    async def probe_all(self, timeout: float) -> None:
        """Probe every host now; return when all have answered or failed, or after *timeout*.

        A quiet manager probes none.
        """
        if self._phase.quiet:
            return  # a probe might wake a database that sleeps
        asked_at = monotonic()
        self._evidence.requests.probe_all()
        with anyio.move_on_after(timeout):
            await self._evidence.notifier.until(
                lambda: all(state.asked_at >= asked_at for state in self._evidence.table)
            )

    def retry_lost(self) -> None:
        """Probe the hosts that don't answer, as an attempt to reconnect."""
        for index in self._probers:
            if self._evidence.table[index].status not in (Status.UP, Status.REJECTED):
                self._evidence.requests.probe(index)

    def close(self) -> None:
        """Close all probe connections."""
        for prober in self._probers.values():
            prober.close()
        self._probers.clear()

    async def _watch(self, prober: Prober) -> None:
        with prober.scope:
            try:
                await self._probe_forever(prober)
            finally:
                with anyio.CancelScope(shield=True):
                    await prober.aclose()

    async def _probe_forever(self, prober: Prober) -> None:
        index = prober.host.index
        wanted = self._evidence.requests.of(index)
        while self._probers.get(index) is prober:  # its cancellation may be on the way
            wanted.clear()
            try:
                if self._evidence.requests.takes_redial(index):
                    prober.close()
                seen = await prober.probe(
                    self._max_age(prober.host), renew=self._refuses_sessions(index)
                )
                if self._probers.get(index) is not prober:
                    return
                self._note(prober.host, seen)
                self._evidence.observe(seen)
            except Exception:  # one bad turn must not end the probes of a host
                host = prober.host
                extra = fields("InternalError", self._settings.name, host=host.label)
                logger.exception("a probe of %s failed; going on", host, extra=extra)
            await self._pause(prober.host, wanted)

    def _note(self, host: Host, seen: Observation) -> None:
        kind = seen.failure.kind.value if seen.failure else None
        for instrument in self._instruments:
            instrument.probed(host.label, seen.answered_at - seen.asked_at, kind)

    def _until_tick(self, interval: float) -> float:
        """Return the seconds until the hosts are probed next, all at once while all is well.

        An idle program is woken once for all its hosts; many programs still spread out.
        """
        now = monotonic()
        if self._tick_at <= now:
            self._tick_at = now + spread(interval)
        return self._tick_at - now

    def _max_age(self, host: Host) -> float:
        """Return how old a probe's connection may be, in seconds.

        During a search, the address of a host that does not qualify may have been given to another
        server, which an old connection would never tell.
        """
        situation = self._phase.situation(self._evidence.suspicion)
        qualifies = self._evidence.qualifies(host)
        return float("inf") if qualifies or not situation.searching else MAX_AGE

    def _refuses_sessions(self, index: int) -> bool:
        """Return whether a host accepted no new connections, and nobody but its probe would try.

        Sessions that live there may finish, so the probe's own says whether it is up.
        """
        state = self._evidence.table[index]
        if index != self._phase.current:
            return state.refuses_sessions
        # Dials that were delivered wait for long: they may be lost.
        return state.dials is not None and state.dials.failure.kind is FailureKind.TIMEOUT

    async def _pause(self, host: Host, wanted: asyncio.Event) -> None:
        state = self._evidence.table[host.index]
        situation = self._phase.situation(self._evidence.suspicion)
        delay = pace(state, situation, self._settings.health_interval, monotonic())
        if delay is None:
            await wanted.wait()
            return
        if situation.unsure_since is None and state.status is not Status.REJECTED:
            delay = self._until_tick(delay)
        least = min(delay, BURST_FIRST)
        if state.status is Status.REJECTED:
            least = delay  # nothing but time or a person will help
        await asyncio.sleep(least)
        with anyio.move_on_after(delay - least):
            await wanted.wait()
