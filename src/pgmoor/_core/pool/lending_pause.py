"""Lending nothing for a moment: what callers would send is likely to fail."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from .ledger import Ledger


class LendingPause:
    """A pause in which callers wait, until the host in use has answered or time is up."""

    def __init__(self, ledger: Ledger, feed: Callable[[], None]) -> None:
        self.because: str | None = None  # why nothing is lent; None if it is
        self._ledger = ledger
        self._feed = feed  # serves those who wait
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, seconds: float, because: str) -> None:
        """Lend nothing for *seconds* at most; a pause that has begun already goes on as it is."""
        if self.because is None:
            self.because = because
            self._timer = asyncio.get_running_loop().call_later(seconds, self.resume)
            self._ledger.pause(paused=True)

    def resume(self) -> None:
        """Serve those who wait, if there is a pause."""
        if self.because is not None:
            self.end()
            self._feed()

    def end(self) -> None:
        """Let what is ready be lent again."""
        if self._timer is not None:
            self._timer.cancel()
        self.because = self._timer = None
        self._ledger.pause(paused=False)
