"""Which hosts are to be probed at once, and which over a new connection."""

from __future__ import annotations

import asyncio


class ProbeRequests:
    """Requests from everybody who wants to know more, to the tasks that probe."""

    def __init__(self) -> None:
        self._wanted: dict[int, asyncio.Event] = {}  # by the hosts' indices
        self._redial: set[int] = set()

    def of(self, index: int) -> asyncio.Event:
        """Return the event that is set while a probe of a host is wanted now."""
        return self._wanted.setdefault(index, asyncio.Event())

    def drop(self, index: int) -> None:
        """Forget a host that is probed no longer."""
        self._wanted.pop(index, None)
        self._redial.discard(index)

    def probe(self, index: int) -> None:
        """Ask for a probe of one host now."""
        self.of(index).set()

    def probe_all(self) -> None:
        """Ask for a probe of every host now."""
        for wanted in self._wanted.values():
            wanted.set()

    def redial(self, index: int) -> None:
        """Have the next probe of a host use a new connection: its address may lead elsewhere."""
        self._redial.add(index)

    def takes_redial(self, index: int) -> bool:
        """Return whether a new connection was asked for, and forget that."""
        wanted = index in self._redial
        self._redial.discard(index)
        return wanted
