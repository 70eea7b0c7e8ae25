"""Has all hosts of one manager probed."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING

import anyio

from pgmoor.health import Status

from .host_probe import Ticks
from .host_watch import key_of, watch_here
from .probe_client import ProbeClient
from .prober import Prober

if TYPE_CHECKING:
    from pgmoor._core.connection.abortable import AbortableConnection
    from pgmoor._core.dialling.connector import Connectors
    from pgmoor._core.hosts.host import Host
    from pgmoor._core.state.live import LiveState

    from .host_watch import HostWatch


class Probing:
    """A client of the watch for each host of the list and for the one in use."""

    def __init__(
        self,
        live: LiveState,
        connectors: Connectors,
        connection_class: type[AbortableConnection],
        watch: HostWatch,
    ) -> None:
        self._live = live
        self._settings = live.settings
        self._evidence = live.evidence
        self._phase = live.phase
        self._connectors = connectors
        self._class = connection_class
        self._watch = watch
        self._ticks = Ticks()
        self._clients: dict[int, ProbeClient] = {}  # by the hosts' indices
        self._ending: list[asyncio.Task[object]] = []

    @property
    def alive(self) -> bool:
        """Whether all hosts are being probed."""
        return all(client.alive for client in tuple(self._clients.values()))

    def start(self) -> None:
        """Begin to probe."""
        self.follow_list()

    def follow_list(self) -> None:
        """Probe each host of the list and the one in use, and no other."""
        table, current = self._evidence.table, self._phase.current
        wanted = {state.host.index: state.host for state in table}
        if current is not None:
            wanted[current] = table[current].host
        for index in [index for index in self._clients if index not in wanted]:
            self._leave(self._clients.pop(index))
        watch = watch_here(self._watch)
        for index, host in wanted.items():
            if index not in self._clients:
                prober = self._prober(host)
                key = key_of(self._watch, self._settings, host)
                client = ProbeClient(self._live, prober, watch, self._ticks, key)
                self._clients[index] = client
                client.enter()

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
        for index in self._clients:
            if self._evidence.table[index].status not in (Status.UP, Status.REJECTED):
                self._evidence.requests.probe(index)

    def close(self) -> None:
        """Probe no more, and close all probe connections."""
        for client in self._clients.values():
            self._leave(client)
        self._clients.clear()

    def _leave(self, client: ProbeClient) -> None:
        client.leave()
        self._ending = [task for task in self._ending if not task.done()] + client.ending

    async def ended(self, timeout: float) -> None:
        """Wait until nothing is under way any more, for *timeout* seconds at most."""
        if self._ending:
            await asyncio.wait(self._ending, timeout=timeout)
