"""Who shares the answers of a host with whom, in one event loop."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from pgmoor._core.hosts.sharing import agree, holds_for_all, tells_status
from pgmoor._core.reporting.log_fields import fields

from .host_probe import HostProbe, Ticks

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Hashable

    from pgmoor._core.hosts.host import Observation

    from .host_probe import Client

logger = logging.getLogger("pgmoor.monitor")


class LoopWatch:
    """Has each host asked once for all managers of an event loop that share it.

    A manager begins alone. Once its own session was answered, and as the others' is, it shares
    theirs. It is alone again from what concerns its database or role only: then it asks for itself.
    """

    def __init__(self) -> None:
        self._ticks = Ticks()
        self._shared: dict[Hashable, HostProbe] = {}

    def enter(self, client: Client) -> None:
        """Begin to ask for a client."""
        self._ask_alone(client, rested=True)

    def leave(self, client: Client) -> list[asyncio.Task[object]]:
        """Ask for a client no more; return the tasks that are about to end for that."""
        return self._remove(client)

    def part(self, client: Client, *, rested: bool = True) -> None:
        """Have a client ask for itself, at once if it is *rested* from its last answer."""
        client.verified = False
        if client.probe.is_asking(client):
            client.parting = True
        elif self._shared.get(client.key) is client.probe:
            if len(client.probe.clients) == 1:
                self._unshare(client)
                if rested:
                    client.probe.wanted.set()
            else:
                self._remove(client, keep_session=True)
                self._ask_alone(client, rested=rested)

    def settle(self, probe: HostProbe, source: Client, seen: Observation) -> bool:
        """Pass on what *source* has learnt; return False if others have to ask for themselves."""
        general = holds_for_all(seen) and not source.parting
        source.parting = False
        if self._shared.get(source.key) is not probe:
            source.take(seen, own=True)
            if general and tells_status(seen) and source.probe is probe:
                self._share(probe, source, seen)
            return True
        if general:
            self._pass_on(probe, source, seen)
            return True
        alone = len(probe.clients) == 1
        self.part(source, rested=False)
        source.take(seen, own=True)
        return alone

    def scatter(self, probe: HostProbe) -> None:
        """Have each client ask for itself: the host refuses one after the other."""
        for client in tuple(probe.clients):
            self.part(client)

    def _pass_on(self, probe: HostProbe, source: Client, seen: Observation) -> None:
        # It may be for this one's database or role only. But what a server does not answer waits
        # there: so no more than one is passed over while none is answered.
        another = seen.failure is not None and not (tells_status(seen) and _fails(probe.newest))
        if tells_status(seen):
            probe.newest = seen
        source.verified = source.verified or seen.info is not None
        for client in tuple(probe.clients):
            try:
                client.take(seen, own=client is source)
            except Exception:  # what fails for one manager is no matter of the others
                extra = fields("InternalError", client.name, host=client.host.label)
                logger.exception("a probe of %s failed; going on", client.host, extra=extra)
        if another:
            probe.pass_over(source)

    def _share(self, probe: HostProbe, client: Client, seen: Observation) -> None:
        """Let a client share from now on, if others agree with what it has learnt itself."""
        client.verified = client.verified or seen.info is not None
        if client.key is None:
            return
        shared = self._shared.get(client.key)
        if shared is None:
            self._shared[client.key] = probe
            probe.newest, probe.ticks = seen, self._ticks
        elif seen.info is not None and (shared.newest is None or shared.newest.failure):
            self._move(client, shared, lead=True)  # it gets an answer where the others get none
            shared.wanted.set()
        elif shared.newest is not None and agree(shared.newest, seen):
            self._move(client, shared, lead=False)

    def _move(self, client: Client, shared: HostProbe, *, lead: bool) -> None:
        """Move a client to those who share; have its own session asked for them if it *leads*."""
        self._remove(client, keep_session=lead)
        client.probe = shared
        shared.add(client)
        if lead:
            shared.lead(client)

    def _unshare(self, client: Client) -> None:
        del self._shared[client.key]
        client.probe.newest, client.probe.ticks = None, client.ticks

    def _remove(self, client: Client, *, keep_session: bool = False) -> list[asyncio.Task[object]]:
        probe = client.probe
        ending = probe.remove(client, keep_session=keep_session)
        if not probe.clients and self._shared.get(client.key) is probe:
            del self._shared[client.key]
        return ending

    def _ask_alone(self, client: Client, *, rested: bool) -> None:
        client.probe = HostProbe(client.ticks, self)
        client.probe.add(client, rested=rested)


def _fails(seen: Observation | None) -> bool:
    return seen is not None and seen.failure is not None
