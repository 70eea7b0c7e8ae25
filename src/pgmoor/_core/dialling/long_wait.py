"""What is made of a dial that takes long: it is reported, and goes on.

One that is given up would still wait in the server, or in a pooler in front of it, and so would the
next. Only what the server knows nothing of is begun again.
"""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from time import monotonic
from typing import TYPE_CHECKING

from pgmoor._core.connection.progress import is_delivered
from pgmoor._core.hosts.failures import Failure, FailureKind
from pgmoor._core.hosts.hearing import LOST_AFTER, NEVER, patience
from pgmoor._core.util.awake_limit import LATE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pgmoor._core.connection.abortable import AbortableConnection
    from pgmoor._core.connection.progress import DialProgress
    from pgmoor._core.hosts.host import Host
    from pgmoor._core.settings.settings import Settings
    from pgmoor._core.state.evidence import Evidence


class LongWait:
    """Reports that the login or the first question of one dial is not answered yet."""

    def __init__(
        self, settings: Settings, host: Host, evidence: Evidence, progress: DialProgress
    ) -> None:
        self._settings = settings
        self._host = host
        self._evidence = evidence
        self._hearing = evidence.hearings.of(host.index)
        self._progress = progress
        self._began_at = monotonic()
        self._since = self._began_at  # what was heard before does not count
        self._timer: asyncio.TimerHandle | None = None

    @property
    def patience(self) -> float:
        """Seconds that the server has for one answer."""
        return patience(
            self._settings.health_timeout,
            self._progress.longest_wait,
            self._settings.connect_timeout,
        )

    # -- the login -----------------------------------------------------------------------------

    @contextmanager
    def for_login(self) -> Iterator[None]:
        """Note while the block runs that a server doesn't say a word to a new connection."""
        self._look_after(self.patience)
        try:
            yield
        finally:
            assert self._timer is not None
            self._timer.cancel()

    def _look_after(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time() + seconds
        self._timer = loop.call_at(due, self._look, due)

    def _look(self, due: float) -> None:
        """Note that nothing was heard, unless an answer may wait to be read."""
        late = asyncio.get_running_loop().time() - due > LATE
        began, wait = self._progress.began_at, self.patience
        asked_for = 0.0 if began is None else monotonic() - began
        if not late and self._progress.heard_at == NEVER and asked_for >= wait:
            failure = Failure(FailureKind.UNANSWERED, f"no answer within {asked_for:.2g} s")
            self._evidence.dial_waits(self._host, failure)
            wait /= 2
        self._look_after(wait)

    def login_is_late(self) -> bool:
        """Report that `connect_timeout` is over; return whether to wait on."""
        dial = self._progress
        if not dial.is_delivered() or dial.has_no_end or self._is_lost():
            return False
        limit = self._settings.connect_timeout
        self._report(FailureKind.TIMEOUT, f"no answer within {limit:g} s")
        return True

    # -- the first question --------------------------------------------------------------------

    def answer_is_late(self, conn: AbortableConnection) -> bool:
        """Report that a question waits, unless others are served; return whether to wait on."""
        if not is_delivered(conn.pgconn) or self._is_lost():
            return False
        if self._hearing.statement_at <= self._since:
            text = f"no answer to a health check within {self.patience:.3g} s"
            self._report(FailureKind.UNANSWERED, text)
        self._since = monotonic()
        return True

    def _is_lost(self) -> bool:
        return monotonic() - self._began_at > LOST_AFTER

    def _report(self, kind: FailureKind, text: str) -> None:
        self._evidence.dial_failed(self._host, Failure(kind, text))
