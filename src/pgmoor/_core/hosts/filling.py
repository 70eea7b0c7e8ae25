"""When a preferred host's pool may take over while it is filled, and when to try again. Pure."""

from __future__ import annotations

from enum import Enum

STUCK_AFTER = 5.0  # seconds without another connection
LONGEST = 120.0  # seconds for all of it, however steadily connections come
FIRST_WAIT = 5.0  # seconds; the least wait for the next attempt
LONGEST_WAIT = 600.0


class Verdict(Enum):
    """What becomes of a pool that is being filled."""

    GO_ON = "go on"
    TAKE_OVER = "take over"
    POSTPONE = "postpone"


class Filling:
    """One attempt to fill a pool, begun at *now*; instants are in seconds."""

    def __init__(self, now: float) -> None:
        self._began = now
        self._progress_at = now
        self._made = 0

    def judge(self, made: int, full: int, needed: int, now: float, awake_since: float) -> Verdict:
        """Judge a pool of *made* connections; with *full* of them it need not wait for more.

        While connections keep coming, it is given the time. After that *needed* are enough: one for
        each caller who has or wants one. The event loop has not stood still since *awake_since*.
        """
        if made > self._made:
            self._made, self._progress_at = made, now
        if made >= full:
            return Verdict.TAKE_OVER
        quiet = now - max(self._progress_at, awake_since)
        if quiet < STUCK_AFTER and now - self._began < LONGEST:
            return Verdict.GO_ON
        return Verdict.TAKE_OVER if made >= needed else Verdict.POSTPONE


class Postponements:
    """Until when no failback to a host is tried, because its pool could not be filled."""

    def __init__(self, failback_after: float) -> None:
        self.until: dict[int, float] = {}  # by the hosts' indices
        self._first = max(failback_after, FIRST_WAIT)
        self._waits: dict[int, float] = {}  # the newest wait for each host, in seconds

    def postpone(self, host: int, now: float) -> float:
        """Return the seconds until the next attempt: twice as many as the last time."""
        last = self._waits.get(host)
        longest = max(self._first, LONGEST_WAIT)
        wait = self._first if last is None else min(2 * last, longest)
        self._waits[host] = wait
        self.until[host] = now + wait
        return wait

    def hold_off(self, host: int, now: float) -> None:
        """Leave a host in peace for a while; the attempt was ended for another reason."""
        self.until[host] = now + self._first

    def clear(self) -> None:
        """Forget all of it: an attempt has succeeded, or somebody asks for one now."""
        self.until.clear()
        self._waits.clear()
