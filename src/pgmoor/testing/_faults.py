"""The faults that `under_faults` can cause; the steps they consist of are in `_stage.py`."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ._stage import Stage

BRIEF = 1.0  # seconds that a temporary fault lasts
NEXT_COMMIT = 10.0  # seconds until the program commits


@dataclass(frozen=True)
class Fault:
    """A fault of the servers; `strike()` returns when it is over or has taken effect.

    Make your own from any coroutine function that takes a `Stage`.
    """

    name: str
    strike: Callable[[Stage], Awaitable[object]]
    standby: bool = False
    """Whether it needs a standby."""
    proxy: bool = False
    """Whether it needs a proxy in front of each server."""

    def possible(self, stage: Stage) -> bool:
        """Return whether *stage* has the standby and the proxies that the fault needs."""
        has_standby, has_proxies = len(stage.cluster) > 1, bool(stage.proxies)
        return (has_standby or not self.standby) and (has_proxies or not self.proxy)


async def _crash(stage: Stage) -> None:
    await stage.primary.kill()
    await stage.promote()


async def _freeze(stage: Stage) -> None:
    await stage.primary.freeze()
    await stage.promote()


async def _demote(stage: Stage) -> None:
    await stage.primary.demote()
    await stage.promote()


async def _switch(stage: Stage) -> None:
    await stage.primary.stop("fast")
    await stage.promote()


async def _restart(stage: Stage) -> None:
    await stage.primary.stop("fast")
    await stage.primary.start()


async def _outage(stage: Stage) -> None:
    await stage.primary.kill()
    await asyncio.sleep(BRIEF)
    await stage.primary.start()


async def _silence(stage: Stage) -> None:
    stage.proxy.silent()
    await stage.promote()


async def _pause(stage: Stage) -> None:
    proxy = stage.proxy
    proxy.silent()
    await asyncio.sleep(BRIEF)
    proxy.heal()


async def _reset(stage: Stage) -> None:
    stage.proxy.reset()


def _lose_commit(*, delivered: bool) -> Callable[[Stage], Awaitable[None]]:
    async def strike(stage: Stage) -> None:
        proxy = stage.proxy
        before = proxy.commits_lost
        proxy.lose_commits(delivered=delivered)
        try:
            async with asyncio.timeout(NEXT_COMMIT):
                while proxy.commits_lost == before:  # noqa: ASYNC110  the proxy is another thread
                    await asyncio.sleep(0.001)
        except TimeoutError:
            raise AssertionError(
                f"no COMMIT came through the primary's proxy within {NEXT_COMMIT:g} s, so none"
                " could be lost: let `work` commit, over the proxies"
            ) from None

    return strike


CRASH = Fault("the primary is killed, a standby promoted", _crash, standby=True)
FREEZE = Fault("the primary is frozen, a standby promoted", _freeze, standby=True)
DEMOTION = Fault("the primary turns read-only, a standby is promoted", _demote, standby=True)
SWITCHOVER = Fault("the primary is shut down, a standby promoted", _switch, standby=True)
SILENCE = Fault("the primary is cut off, a standby promoted", _silence, standby=True, proxy=True)
RESTART = Fault("the primary is restarted", _restart)
OUTAGE = Fault(f"the primary is killed and back after {BRIEF:g} s", _outage)
SESSIONS_ENDED = Fault("every session is terminated", lambda stage: stage.end_sessions())
RESET = Fault("every connection is reset", _reset, proxy=True)
PAUSE = Fault(f"the network is silent for {BRIEF:g} s", _pause, proxy=True)
COMMIT_NOT_DELIVERED = Fault("a COMMIT is not delivered", _lose_commit(delivered=False), proxy=True)
COMMIT_UNANSWERED = Fault(
    "the answer to a COMMIT is lost", _lose_commit(delivered=True), proxy=True
)

FAULTS = (
    *(CRASH, FREEZE, DEMOTION, SWITCHOVER, SILENCE),
    *(RESTART, OUTAGE, SESSIONS_ENDED, RESET, PAUSE),
    *(COMMIT_NOT_DELIVERED, COMMIT_UNANSWERED),
)
