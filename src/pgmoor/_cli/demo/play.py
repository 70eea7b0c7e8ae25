"""Plays one scene under load, and measures what each lane's writers saw."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from time import monotonic
from typing import TYPE_CHECKING

from pgmoor._cli.story import Source, Tone

from .lane import NO_ROWS
from .ledger import audit
from .results import SceneResult

if TYPE_CHECKING:
    from pgmoor.testing import Stage

    from .board import Board
    from .lane import Lane
    from .scenes import Scene

UNDISTURBED = 2.0  # seconds of work before each fault
AFTERMATH = 1.0  # seconds of work after the repair, in which errors count, too


@dataclass(slots=True)
class Instants:
    """When a fault began and was complete, and when a server could commit again."""

    began: float = 0.0
    complete: float = 0.0
    writable: float = 0.0
    too_late: list[Lane] = field(default_factory=list)
    """The lanes that had not recovered when their patience, and the scene, ended."""


async def play(scene: Scene, stage: Stage, board: Board) -> None:
    """Play one scene; put its results, and an audit of all rows so far, on the board."""
    failures = {lane.name: len(lane.ledger.failures) for lane in board.lanes}
    await asyncio.sleep(UNDISTURBED)
    at = await _strike_and_repair(scene, stage, board)
    await asyncio.sleep(AFTERMATH)
    await _wait_recovered([lane for lane in board.lanes if lane not in at.too_late], at.complete)
    for lane in board.lanes:
        await _judge(scene, stage, lane, at, failures[lane.name])
    await _restart(board, at)


async def _judge(scene: Scene, stage: Stage, lane: Lane, at: Instants, failures: int) -> None:
    ledger, before = lane.ledger, lane.audit or NO_ROWS
    # Copied before the audit: a row acknowledged meanwhile may be missing from what it reads.
    acknowledged = frozenset(ledger.acknowledged)
    conninfo = stage.primary.conninfo()
    after = await asyncio.to_thread(audit, conninfo, acknowledged, ledger.table)
    recovered = None if lane in at.too_late else ledger.recovered_at(at.complete)
    lane.audit = after
    lane.results.append(
        SceneResult(
            fault=scene.title,
            back=None if recovered is None else recovered - at.began,
            # Callers may succeed before the demo notices that a server is writable.
            back_writable=None if recovered is None else max(recovered - at.writable, 0.0),
            failed=len(ledger.failures) - failures,
            lost=len(after.lost - before.lost),
            twice=len(after.twice - before.twice),
            patience=lane.patience,
        )
    )


async def _restart(board: Board, at: Instants) -> None:
    """Let the next fault find every lane at work, whatever this one left behind."""
    for lane in at.too_late:
        if lane.restart is not None:
            text = f"{lane.name}: not back after {lane.patience:g} s; restarted"
            board.story.say(Source.DEMO, text, Tone.BAD)
            await lane.restart()


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
    at.too_late = await _wait_recovered(board.lanes, at.complete)
    await scene.repair(stage, say)
    if stage.primary is not old:
        await stage.repair()
        say(f"{old.name}: back as a standby of {stage.primary.name}")
    return at


async def _wait_recovered(lanes: list[Lane], since: float) -> list[Lane]:
    """Wait for each lane as long as its patience lasts; return those that did not recover."""
    began = monotonic()

    def missing() -> list[Lane]:
        return [lane for lane in lanes if lane.ledger.recovered_at(since) is None]

    while any(monotonic() < began + lane.patience for lane in missing()):  # noqa: ASYNC110
        await asyncio.sleep(0.02)  # it depends on every writer: no single event says so
    return missing()
