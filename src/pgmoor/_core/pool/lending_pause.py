"""Lending nothing for a moment: what callers would send is likely to fail."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from .ledger import Ledger

LONGEST = 0.1  # seconds; an answer that takes longer is not waited for


class LendingPause:
    """A pause in which callers wait, until the host in use has answered or time is up."""

    def __init__(self, ledger: Ledger, feed: Callable[[], None]) -> None:
        self.because: str | None = None  # why nothing is lent; None if it is
        self._ledger = ledger
        self._feed = feed  # serves those who wait
        self._began = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, loop: asyncio.AbstractEventLoop, because: str) -> None:
        """Lend nothing for `LONGEST`; a pause that has begun already is not prolonged."""
        if self.because is None:
            self._timer = loop.call_later(LONGEST, self._resume)
            self._began = monotonic()
            self.because = because
            self._ledger.pause(paused=True)

    def answered(self, asked_at: float) -> None:
        """End the pause if it was going on when the host was asked: it still qualifies."""
        if self.because is not None and asked_at >= self._began:
            self._resume()

    def end(self) -> None:
        """Let what is ready be lent again, without serving those who wait."""
        if self._timer is not None:
            self._timer.cancel()
        self.because = self._timer = None
        self._ledger.pause(paused=False)

    def _resume(self) -> None:
        self.end()
        self._feed()
