"""Which hosts are to be probed at once, and which over a new connection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from pgmoor._core.hosts.host import Observation


class Asked(Protocol):
    """Has one host probed for this manager."""

    def want(self) -> None:
        """Have it probed now."""

    def doubt_others(self) -> None:
        """Have it probed by this manager alone: what others learn there does not hold for it."""

    def contradicted(self, seen: Observation) -> None:
        """Note that a dial has shown something else than the probes do, and have it probed now."""


class ProbeRequests:
    """Requests from everybody who wants to know more, to those who probe."""

    def __init__(self) -> None:
        self._asked: dict[int, Asked] = {}  # by the hosts' indices
        self._redial: set[int] = set()

    def attach(self, index: int, asked: Asked) -> None:
        """Pass on the requests about a host from now on."""
        self._asked[index] = asked

    def drop(self, index: int) -> None:
        """Forget a host that is probed no longer."""
        self._asked.pop(index, None)
        self._redial.discard(index)

    def probe(self, index: int) -> None:
        """Ask for a probe of one host now."""
        if (asked := self._asked.get(index)) is not None:
            asked.want()

    def probe_all(self) -> None:
        """Ask for a probe of every host now."""
        for asked in tuple(self._asked.values()):
            asked.want()

    def redial(self, index: int) -> None:
        """Have the next probe of a host use a new connection: its address may lead elsewhere."""
        self._redial.add(index)

    def takes_redial(self, index: int) -> bool:
        """Return whether a new connection was asked for, and forget that."""
        wanted = index in self._redial
        self._redial.discard(index)
        return wanted

    def doubt_others(self, index: int) -> None:
        """Have a host probed by this manager alone: what others learn may not hold for it."""
        if (asked := self._asked.get(index)) is not None:
            asked.doubt_others()

    def contradicted(self, seen: Observation) -> None:
        """Note that a dial has shown something else than the probes of its host do."""
        if (asked := self._asked.get(seen.host)) is not None:
            asked.contradicted(seen)
