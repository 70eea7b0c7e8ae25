"""Counts what a manager does: written in the manager's event loop, read from any thread."""

from __future__ import annotations

from collections import Counter
from threading import Lock
from time import monotonic
from typing import TYPE_CHECKING, Any

from pgmoor.events import Failover
from pgmoor.health import State
from pgmoor.instruments import Instrument

from .buckets import Buckets

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pgmoor import ConnectionManager
    from pgmoor.events import Event
    from pgmoor.instruments import Ended

WITHOUT_HOST = frozenset({State.SEARCHING.value, State.OUTAGE.value, State.GAVE_UP.value})


class Tally(Instrument):
    """The totals since the tally was attached to a manager; durations in seconds.

    Keys are only ever added to its dictionaries. Copy a dictionary before you iterate over it.
    """

    def __init__(self, hosts: Iterable[str], clock: Callable[[], float] = monotonic) -> None:
        hosts = list(hosts)
        self.timeouts: int = 0
        self.attempts: int = 0
        self.failovers: int = 0
        self.waits: Buckets = Buckets()
        self.uses: Buckets = Buckets()
        self.creations: Buckets = Buckets()
        self.detections: Buckets = Buckets()
        self.recoveries: Buckets = Buckets()
        self.probes: dict[str, Buckets] = {host: Buckets() for host in hosts}
        self.aborts: Counter[str] = Counter(dict.fromkeys(hosts, 0))
        self.probe_failures: Counter[tuple[str, str]] = Counter()
        self.dial_failures: Counter[tuple[str, str]] = Counter()
        self.events: Counter[str] = Counter()
        self.repeats: int = 0
        self.repeats_refused: int = 0
        self.resolutions: Counter[str] = Counter()
        self._clock = clock
        self._left_at: float | None = None
        # The total of past outages, and when the present one began. Writers and readers read the
        # clock under the lock: a total that shrinks would look like a restart.
        self._outage: tuple[float, float | None] = (0.0, None)
        self._changing = Lock()

    @classmethod
    def of(cls, manager: ConnectionManager[Any]) -> Tally:
        """Return a tally for *manager*, which need not be open. The caller attaches it."""
        health = manager.snapshot()
        tally = cls(host.host for host in health.hosts)
        if health.state in WITHOUT_HOST:
            tally._outage = (0.0, monotonic() - health.since)
        return tally

    def outage_seconds(self) -> float:
        """Return the time without a host in use, including the present outage."""
        with self._changing:
            past, since = self._outage
            return past if since is None else past + self._clock() - since

    def checked_out(self, waited: float) -> None:
        """Count a checkout."""
        if waited:
            self.waits.observe(waited)
        else:
            self.waits.zeros += 1

    def returned(self, held: float) -> None:
        """Count a return."""
        self.uses.observe(held)

    def timed_out(self) -> None:
        """Count a caller whose wait timed out."""
        self.timeouts += 1

    def dialling(self, host: str) -> Ended:
        """Count the dial if it fails. One that ends in an exception was cancelled, or is a bug."""

        def ended(outcome: BaseException | str | None) -> None:
            if isinstance(outcome, str):
                self.dial_failures[host, outcome] += 1

        return ended

    def dialled(self, seconds: float) -> None:
        """Count a connection that was made."""
        self.creations.observe(seconds)

    def probed(self, host: str, seconds: float, failure: str | None) -> None:
        """Count a probe, as answered or as failed."""
        if failure is not None:
            self.probe_failures[host, failure] += 1
        elif host in self.probes:
            self.probes[host].observe(seconds)

    def aborted(self, host: str) -> None:
        """Count a connection that was cut."""
        self.aborts[host] += 1

    def searched(self) -> None:
        """Count an attempt to reconnect."""
        self.attempts += 1

    def repeated(self) -> None:
        """Count a repeat of a transaction."""
        self.repeats += 1

    def repeat_refused(self) -> None:
        """Count a repeat that the budget did not allow."""
        self.repeats_refused += 1

    def resolved(self, outcome: str) -> None:
        """Count an unanswered COMMIT."""
        self.resolutions[outcome] += 1

    def left(self, host: str, noticed: float) -> None:  # noqa: ARG002  figures of the manager
        """Count the detection, and start timing the recovery."""
        self.detections.observe(noticed)
        self._left_at = self._clock()

    def entered(self, state: str) -> None:
        """Time the outages."""
        without = state in WITHOUT_HOST
        with self._changing:
            past, since = self._outage
            if without and since is None:
                self._outage = (past, self._clock())
            elif not without and since is not None:
                self._outage = (past + self._clock() - since, None)
        if state == State.CLOSED.value:
            self._left_at = None
        if not without:
            self._recovered()

    def happened(self, event: Event) -> None:
        """Count an event."""
        self.events[type(event).__name__] += 1
        if isinstance(event, Failover):
            self.failovers += 1
            self._recovered()

    def _recovered(self) -> None:
        """Count the recovery, if one is being timed: a host is in use again."""
        if self._left_at is not None:
            self.recoveries.observe(self._clock() - self._left_at)
            self._left_at = None
