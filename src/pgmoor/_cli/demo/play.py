"""Plays one scene under load, and measures what the writers saw."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING

from .ledger import Audit, audit
from .results import SceneResult
from .story import Source

if TYPE_CHECKING:
    from pgmoor.testing import Stage

    from .board import Board
    from .ledger import Ledger
    from .scenes import Scene

UNDISTURBED = 2.0  # seconds of work before each fault
AFTERMATH = 1.0  # seconds of work after the repair, in which errors count, too
TIMEOUT = 15.0  # seconds for every writer to work again
NO_ROWS = Audit(rows=0, lost=frozenset(), twice=frozenset())


@dataclass(slots=True)
class Instants:
    """When a fault began and was complete, and when a server could commit again."""

    began: float = 0.0
    complete: float = 0.0
    writable: float = 0.0


async def play(scene: Scene, stage: Stage, board: Board) -> None:
    """Play one scene; put its result, and an audit of all rows so far, on the board."""
    ledger, before = board.ledger, board.audit or NO_ROWS
    failures = len(ledger.failures)
    await asyncio.sleep(UNDISTURBED)
    at = await _strike_and_repair(scene, stage, board)
    await asyncio.sleep(AFTERMATH)
    await _wait_recovered(ledger, at.complete)
    # Copied before the audit: a row acknowledged meanwhile may be missing from what it reads.
    acknowledged = frozenset(ledger.acknowledged)
    after = await asyncio.to_thread(audit, stage.primary.conninfo(), acknowledged)
    recovered = ledger.recovered_at(at.complete)
    board.audit = after
    board.results.append(
        SceneResult(
            fault=scene.title,
            back=None if recovered is None else recovered - at.began,
            # Callers may succeed before the demo notices that a server is writable.
            back_writable=None if recovered is None else max(recovered - at.writable, 0.0),
            failed=len(ledger.failures) - failures,
            lost=len(after.lost - before.lost),
            twice=len(after.twice - before.twice),
        )
    )


async def _strike_and_repair(scene: Scene, stage: Stage, board: Board) -> Instants:
    def say(text: str) -> None:
        board.story.say(Source.DEMO, text)

    old, at = stage.primary, Instants()
    at.began = monotonic()
    board.strikes.append((at.began, scene.title))
    await scene.strike(stage, say)
    at.complete = monotonic()
    await scene.rescue(stage, say)
    await stage.wait_writable()
    at.writable = monotonic()
    await _wait_recovered(board.ledger, at.complete)
    await scene.repair(stage, say)
    if stage.primary is not old:
        await stage.repair()
        say(f"{old.name}: back as a standby of {stage.primary.name}")
    return at


async def _wait_recovered(ledger: Ledger, since: float) -> None:
    deadline = monotonic() + TIMEOUT
    while ledger.recovered_at(since) is None and monotonic() < deadline:  # noqa: ASYNC110
        await asyncio.sleep(0.02)  # it depends on every writer: no single event says so
