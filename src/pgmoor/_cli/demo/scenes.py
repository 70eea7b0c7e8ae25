"""The demo's scenes: the faults, what an orchestrator does about each, and what is said of it.

How servers are promoted and repaired is in `pgmoor.testing.Stage`; scenes are run by `play`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeAlias

from pgmoor.testing import NodeState, Stage

OUTAGE = 5.0  # seconds without any server
SPLIT = 2.0  # seconds that the old primary is writable after its thaw

Say: TypeAlias = Callable[[str], None]
Step: TypeAlias = Callable[[Stage, Say], Awaitable[None]]


async def _nothing(stage: Stage, say: Say) -> None:
    """Leave the servers as they are."""


@dataclass(frozen=True, slots=True)
class Scene:
    """A fault: *strike* causes it, *rescue* is what an orchestrator does at once.

    *repair* follows when every writer works again.
    """

    title: str
    strike: Step
    rescue: Step = _nothing
    repair: Step = _nothing


async def _kill(stage: Stage, say: Say) -> None:
    say(f"{stage.primary.name}: SIGKILL to every process")
    await stage.primary.kill()


async def _freeze(stage: Stage, say: Say) -> None:
    say(f"{stage.primary.name}: SIGSTOP to every process")
    await stage.primary.freeze()


async def _demote(stage: Stage, say: Say) -> None:
    say(f"{stage.primary.name}: default_transaction_read_only = on")
    await stage.primary.demote()


async def _end_sessions(stage: Stage, say: Say) -> None:
    ended = await stage.end_sessions()
    say(f"{stage.primary.name}: pg_terminate_backend() for {ended} sessions")


async def _restart(stage: Stage, say: Say) -> None:
    say(f"{stage.primary.name}: restart")
    await stage.primary.stop("fast")
    await stage.primary.start()


async def _kill_all(stage: Stage, say: Say) -> None:
    say("SIGKILL to every process of every server")
    await asyncio.gather(*(node.kill() for node in stage.cluster))


async def _promote(stage: Stage, say: Say) -> None:
    new = await stage.most_advanced()
    say(f"{new.name}: promote (the most advanced standby)")
    await stage.promote(new)


async def _finish_writes_and_promote(stage: Stage, say: Say) -> None:
    await stage.finish_writes()
    await _promote(stage, say)


async def _start_all_later(stage: Stage, say: Say) -> None:
    await asyncio.sleep(OUTAGE)
    say("start every server")
    await asyncio.gather(*(node.start() for node in stage.cluster))


async def _thaw(stage: Stage, say: Say) -> None:
    """Thaw the old primary: for a while it is writable, on the old timeline."""
    for node in stage.cluster:
        if node.state is NodeState.FROZEN:
            say(f"{node.name}: SIGCONT; still a writable primary")
            await node.thaw()
    await asyncio.sleep(SPLIT)


CRASH = Scene("crash: primary killed", _kill, _promote)
FREEZE = Scene("freeze: stopped, thawed later", _freeze, _promote, _thaw)
DEMOTION = Scene("demotion: turned read-only", _demote, _finish_writes_and_promote)
CUT = Scene("cut: every session terminated", _end_sessions)
RESTART = Scene("restart: shut down, started", _restart)
OUTAGE_OF_ALL = Scene(f"outage: nothing runs for {OUTAGE:g} s", _kill_all, _start_all_later)

ALL = (CRASH, FREEZE, DEMOTION, CUT, RESTART, OUTAGE_OF_ALL)
QUICK = (CRASH, FREEZE)
