"""What the manager is doing: which host is in use, or since when it searches for one."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING

from pgmoor._core.hosts.probe_pace import Situation
from pgmoor.health import SERVING, State

if TYPE_CHECKING:
    from collections.abc import Callable

    from pgmoor._core.hosts.suspicion import Suspicion
    from pgmoor._core.util.asynctools import Notifier
    from pgmoor.instruments import Instrument


class Phase:
    """The manager's state, the host in use, and the search for one. Instants are monotonic."""

    def __init__(self, notifier: Notifier, instruments: list[Instrument]) -> None:
        self.state: State = State.NEW
        self.since: float = monotonic()
        self.current: int | None = None  # the index of the host in use
        self.searching_since: float | None = None
        self.outage_since: float | None = (
            None  # of one that was announced; giving up does not end it
        )
        self.outage_announced: bool = False  # of the present search
        self.given_up: bool = False
        self.searching: asyncio.Event = asyncio.Event()
        self.found: asyncio.Event = asyncio.Event()
        self.on_search: Callable[[], None] | None = None  # called when a search begins
        # When a caller last came to wait for a connection, or gave one back.
        self.used_at: float = monotonic()
        self.waking: bool = False  # the search that goes on is the first since it was quiet
        self.on_wanted: Callable[[], None] | None = None  # wakes a quiet manager
        self._notifier = notifier
        self._instruments = instruments

    @property
    def serving(self) -> bool:
        """Whether callers get connections: a host is in use, or the manager is quiet."""
        return self.state in SERVING

    @property
    def quiet(self) -> bool:
        """Whether no host is asked, because nobody wants a connection."""
        return self.state is State.QUIET

    def want(self) -> None:
        """Wake the manager if it is quiet: somebody wants a connection."""
        if self.quiet and self.on_wanted is not None:
            self.used_at = monotonic()
            self.on_wanted()

    def fall_quiet(self) -> None:
        """Use no host, and search for none, until somebody wants a connection."""
        self.current = None
        self.enter(State.QUIET)

    def enter(self, state: State) -> None:
        """Change the state, and tell everybody who waits for that."""
        if state is not self.state:
            self.state = state
            self.since = monotonic()
            for instrument in self._instruments:
                instrument.entered(state.value)
            self._notifier.notify()

    def search(self, state: State) -> None:
        """Begin to search for a host."""
        self.current = None
        self.searching_since = monotonic()
        self.outage_announced = False
        self.given_up = False
        self.enter(state)
        self.found.clear()
        self.searching.set()
        if self.on_search is not None:
            self.on_search()

    def use(self, index: int) -> None:
        """Use a host from now on; who becomes ready has to `enter()` that."""
        self.current = index
        self.waking = False
        self.searching_since = None
        self.outage_announced = False
        self.searching.clear()
        self.found.set()

    def announce_outage(self) -> None:
        """Enter an outage, which lasts until a host qualifies."""
        self.outage_announced = True
        self.waking = False
        if self.outage_since is None:
            self.outage_since = self.searching_since
        self.enter(State.OUTAGE)

    def give_up(self) -> None:
        """Stop searching."""
        self.given_up = True
        self.searching.clear()
        self.enter(State.GAVE_UP)

    def close(self) -> None:
        """Use no host any more."""
        self.current = None
        self.enter(State.CLOSED)

    def situation(self, suspicion: Suspicion) -> Situation:
        """Return what the pace of probing depends on."""
        suspected = suspicion.since is not None
        return Situation(
            searching=self.searching_since is not None,
            unsure_since=suspicion.burst_since if suspected else self.searching_since,
            given_up=self.given_up,
        )
