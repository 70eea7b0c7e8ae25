"""Why a caller gets no connection, when that is for want of a host."""

from __future__ import annotations

from time import monotonic, time
from typing import TYPE_CHECKING

from pgmoor.errors import NoHostAvailable
from pgmoor.health import State, Status

if TYPE_CHECKING:
    from pgmoor._core.hosts.failures import Failure
    from pgmoor._core.settings.settings import Settings
    from pgmoor.health import HostHealth, PoolFigures

    from .evidence import Evidence
    from .phase import Phase

DIALS_EXPIRY = 10.0  # seconds; a failed dial that nobody tried again since tells nothing any more


class Availability:
    """Reads evidence and phase; of the pool it is told how many connections there are."""

    def __init__(self, settings: Settings, evidence: Evidence, phase: Phase) -> None:
        self._settings = settings
        self._evidence = evidence
        self._phase = phase

    def hosts(self) -> tuple[HostHealth, ...]:
        """Return every host as a report or an error shows it."""
        return self._evidence.table.report(self._phase.current, monotonic(), time())

    def refusal(self) -> NoHostAvailable | None:
        """Return the error that a caller gets at once instead of waiting, or None."""
        if self._phase.given_up:
            why = "max_tries or max_time is used up"
            return self.error(f"{self._settings.name!r} gave up ({why}); call reconnect()")
        if self._phase.state is State.OUTAGE and self._settings.when_down == "fail":
            return self.error(self._no_host())
        return None

    def _no_host(self) -> str:
        return f"no host available for {self._settings.name!r}"

    def missing_host(self, timeout: float, *, made: int, used: int) -> NoHostAvailable | None:
        """Return why a caller got nothing within *timeout* seconds, or None if the pool was full.

        *made* and *used* count the connections of the pool in use.
        """
        within = f"within {timeout:.2f} s"
        current = self._phase.current
        if current is None:
            return self.error(f"{self._no_host()} {within}")
        state = self._evidence.table[current]
        if used or (made and state.status is Status.UP and state.failure is None):
            return None
        failure = self._evidence.dial_failures.get(current)
        because = f" ({failure})" if failure else ""
        return self.error(
            f"no connection of {self._settings.name!r} to {state.host} {within}{because}"
        )

    def why_no_more(self, figures: PoolFigures) -> str | None:
        """Return why the pool could not add a connection, if it has room and could not."""
        current = self._phase.current
        if current is None or figures.size >= figures.max_size + figures.max_overflow:
            return None
        failure = self._evidence.dial_failures.get(current)
        if failure is None and self._phase.state is State.STALLED:
            return f"{self._evidence.table[current].host} does not answer"
        return None if failure is None else failure.text

    def why_empty(self, made: int) -> Failure | None:
        """Return why the host in use gives us no connection at all, or None if it does."""
        current = self._phase.current
        if current is None or made or self._evidence.table[current].dials is None:
            return None  # no dial has failed since it last accepted a session
        return self._evidence.dial_failures.get(current)

    def why_not_growing(self) -> Failure | None:
        """Return why no new connection to the host in use can be made, or None if it can."""
        current = self._phase.current
        dials = None if current is None else self._evidence.table[current].dials
        if dials is None or monotonic() - dials.last > DIALS_EXPIRY:
            return None
        return dials.failure

    def error(self, reason: str) -> NoHostAvailable:
        """Return an error that shows the hosts as they are now."""
        return NoHostAvailable(reason, self.hosts())
