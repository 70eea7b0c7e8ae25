"""The demo's scenes: each a fault, what brings writing back, and how the servers are made whole.

`play()` runs one under load and measures what the writers saw.
"""

from __future__ import annotations

import asyncio
from dataclasses import asdict, dataclass
from time import monotonic
from typing import TYPE_CHECKING, Any

from pgmoor.testing import NodeState

from .ledger import Audit, audit

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from .board import Board
    from .ledger import Ledger
    from .stage import Stage

CALM = 2.0  # seconds of undisturbed work before each fault
AFTERMATH = 1.0  # seconds watched after everything was made whole, for errors that follow
PATIENCE = 15.0  # seconds for everything to flow again
OUTAGE = 5.0  # seconds without any server
SPLIT = 2.0  # seconds that a thawed old primary is left writable
NOTHING = Audit(rows=0, lost=frozenset(), twice=frozenset())


@dataclass(slots=True)
class Instants:
    """When a fault began and was complete, and when a server could commit again."""

    began: float = 0.0
    complete: float = 0.0
    writable: float = 0.0


@dataclass(frozen=True, slots=True)
class Scene:
    """One fault. *strike* does the harm, *rescue* what an orchestrator does about it at once.

    *repair* makes the servers whole after everything flows again.
    """

    title: str
    strike: Callable[[Stage], Awaitable[object]]
    rescue: Callable[[Stage], Awaitable[object]]
    repair: Callable[[Stage], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class SceneResult:
    """What the writers saw of one fault; durations in seconds.

    `back` and `back_writable` run from the fault's beginning, and from the moment a server could
    commit again, until every writer had committed an operation begun after the fault and after the
    last error. None: it never came to that.
    """

    fault: str
    back: float | None
    back_writable: float | None
    failed: int
    lost: int
    twice: int

    @property
    def good(self) -> bool:
        """Whether everything flowed again, nothing was lost, and nothing was written twice."""
        return self.back is not None and not self.lost and not self.twice

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            key: round(value, 3) if isinstance(value, float) else value
            for key, value in asdict(self).items()
        }


async def play(scene: Scene, stage: Stage, board: Board) -> None:
    """Play one scene, and put its outcome and the audit after it on the board."""
    ledger, before, at = board.ledger, board.audit or NOTHING, Instants()
    errors = len(ledger.failures)
    await asyncio.sleep(CALM)
    old = stage.primary
    at.began = monotonic()
    board.strikes.append((at.began, scene.title))
    await scene.strike(stage)
    at.complete = monotonic()
    await scene.rescue(stage)
    at.writable = await stage.wait_writable()
    await _wait_flowing(ledger, at.complete)
    await scene.repair(stage)
    if stage.primary is not old:
        await stage.rejoin(old)
    await asyncio.sleep(AFTERMATH)
    await _wait_flowing(ledger, at.complete)
    # Taken before it is read back: what is acknowledged meanwhile may be there or not.
    acknowledged = frozenset(ledger.acknowledged)
    after = await asyncio.to_thread(audit, stage.primary.conninfo(), acknowledged)
    failed = len(ledger.failures) - errors
    recovered = ledger.recovered_at(at.complete)
    board.audit = after
    board.outcomes.append(_sum_up(scene, recovered, at, failed, (before, after)))


async def _wait_flowing(ledger: Ledger, since: float) -> None:
    deadline = monotonic() + PATIENCE
    while ledger.recovered_at(since) is None and monotonic() < deadline:  # noqa: ASYNC110
        await asyncio.sleep(0.02)  # it hangs on every writer: no one event says so


def _sum_up(
    scene: Scene, recovered: float | None, at: Instants, failed: int, audits: tuple[Audit, Audit]
) -> SceneResult:
    before, after = audits
    return SceneResult(
        fault=scene.title,
        back=None if recovered is None else recovered - at.began,
        # A server may have served before it was seen to.
        back_writable=None if recovered is None else max(recovered - at.writable, 0.0),
        failed=failed,
        lost=len(after.lost - before.lost),
        twice=len(after.twice - before.twice),
    )


async def _nothing(stage: Stage) -> None:
    """Leave things as they are."""


async def _finish_and_promote(stage: Stage) -> None:
    await stage.let_writes_finish()
    await stage.promote()


async def _stay_away(stage: Stage) -> None:
    await asyncio.sleep(OUTAGE)
    await stage.start_all()


async def _thaw(stage: Stage) -> None:
    """Let the frozen primary go on for a while: it is writable, on the timeline that was left."""
    for node in stage.cluster:
        if node.state is NodeState.FROZEN:
            stage.say(f"{node.name}: SIGCONT; it is a writable primary still")
            await node.thaw()
    await asyncio.sleep(SPLIT)


CRASH = Scene("crash: primary killed", lambda s: s.kill_primary(), lambda s: s.promote(), _nothing)
FREEZE = Scene(
    "freeze: stopped, thawed later",
    lambda stage: stage.freeze_primary(),
    lambda stage: stage.promote(),
    _thaw,
)
DEMOTION = Scene(
    "demotion: turned read-only",
    lambda stage: stage.demote_primary(),
    _finish_and_promote,
    _nothing,
)
CUT = Scene("cut: every session terminated", lambda s: s.end_sessions(), _nothing, _nothing)
RESTART = Scene("restart: shut down, started", lambda s: s.restart_primary(), _nothing, _nothing)
OUTAGE_OF_ALL = Scene(
    f"outage: nothing runs for {OUTAGE:g} s",
    lambda stage: stage.kill_all(),
    _stay_away,
    _nothing,
)

ALL = (CRASH, FREEZE, DEMOTION, CUT, RESTART, OUTAGE_OF_ALL)
QUICK = (CRASH, FREEZE)
