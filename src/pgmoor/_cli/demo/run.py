"""Runs the demo: starts servers, a manager and writers, plays the scenes and audits the rows.

What happens is in `scenes` and `writers`, how it looks in `screen` and `plain`.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, Any

from pgmoor import ConnectionManager
from pgmoor._cli.display import REFRESH_INTERVAL, end, start_refresh, warnings_in
from pgmoor._cli.story import Source, Story, Tone
from pgmoor.testing import Cluster, Stage

from .beside import make_lane, opened
from .board import Board
from .lane import PGMOOR, Lane
from .ledger import Ledger, audit, create_sql
from .play import play
from .scenes import ALL, QUICK
from .stores import ThroughPgmoor
from .writers import Writers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from pgmoor._cli.display import Display

CONNECT_TIMEOUT = 10.0  # seconds for the manager to fill its pool at the start
PATIENCE = 15.0  # seconds for every writer to work again
PATIENCE_BESIDE = 5.0  # the same for another library, which may never do
PATIENCE_QUICK = 1.5
SIZES = 4, 8  # of the pools


@dataclass(frozen=True, slots=True)
class Options:
    """The options of the command line."""

    pg_version: int = 18
    writers: int = 16
    quick: bool = False
    beside: str | None = None


def make_board(options: Options) -> Board:
    """Return the board of a demo that has not started.

    Raises `ConfigError` if the other library can't be used.
    """
    beside = None
    if options.beside is not None:
        patience = PATIENCE_QUICK if options.quick else PATIENCE_BESIDE
        beside = make_lane(options.beside, options.writers, patience)
    return Board(
        story=Story(),
        lane=Lane(PGMOOR, Ledger(options.writers), PATIENCE),
        beside=beside,
        scenes=QUICK if options.quick else ALL,
        writers=options.writers,
        pg_version=options.pg_version,
    )


async def run(board: Board, display: Display, *, by_run: bool = False) -> None:
    """Run the whole demo; however it ends, no server is left when it returns."""
    story = board.story
    cluster = Cluster(standbys=2, version=board.pg_version, synchronous=True)
    # What the other library and asyncio say of its broken tasks is no news.
    expected = () if board.beside is None else (board.beside.name, "asyncio")
    with display, warnings_in(story, expected):
        async with contextlib.AsyncExitStack() as stack:
            stack.push_async_callback(end, start_refresh(display))
            story.say(Source.DEMO, "starting a primary and two standbys, synchronous replication")
            await stack.enter_async_context(cluster)
            await _perform(board, cluster, by_run=by_run)
    board.duration = story.elapsed


async def _perform(board: Board, cluster: Cluster, *, by_run: bool) -> None:
    story = board.story
    story.names = {f"{node.host}:{node.port}": node.name for node in cluster}
    stage = Stage(cluster)
    story.say(Source.DEMO, f"{stage.primary.name} is the primary, the others stream from it")
    for lane in board.lanes:
        await stage.primary.sql(create_sql(lane.ledger.table))
    least, most = SIZES
    manager = ConnectionManager(
        cluster.conninfo(), min_size=least, max_size=most, on_event=story.add_event
    )
    async with manager, _health_on(board, manager):
        await manager.wait(CONNECT_TIMEOUT)
        if by_run:
            await manager.install()
        await _write_and_play(board, stage, ThroughPgmoor(manager, by_run=by_run))
        await _conclude(board, stage)
        board.health = await manager.health(fresh=True)


async def _write_and_play(board: Board, stage: Stage, store: ThroughPgmoor) -> None:
    servers = [(node.host, node.port) for node in stage.cluster]
    async with (
        opened(board.beside, servers, board.writers, SIZES) as beside,
        Writers(store, board.lane.ledger, board.writers) as writers,
    ):
        try:
            await _play_all(board, stage)
        except BaseException:
            # After Ctrl-C, a writer that waits for a server must not wait for its timeout.
            await stage.cluster.close()
            raise
        await writers.finish()
        if beside is not None:
            await beside.finish()
        board.writing_until = monotonic()


async def _play_all(board: Board, stage: Stage) -> None:
    board.writing_since = monotonic()
    for number, scene in enumerate(board.scenes):
        board.scene = number
        board.story.say(Source.SCENE, scene.title)
        await play(scene, stage, board)


async def _conclude(board: Board, stage: Stage) -> None:
    """Compare all rows with the ledgers once the writers have finished."""
    conninfo = stage.primary.conninfo()
    for lane in board.lanes:
        ledger = lane.ledger
        lane.audit = await asyncio.to_thread(audit, conninfo, ledger.acknowledged, ledger.table)
    board.scene = None
    for lane, verdict in zip(board.lanes, board.verdicts, strict=True):
        good = lane.is_good(len(board.scenes))
        board.story.say(Source.DEMO, verdict, Tone.GOOD if good else Tone.BAD)


@contextlib.asynccontextmanager
async def _health_on(board: Board, manager: ConnectionManager[Any]) -> AsyncIterator[None]:
    """Keep the manager's health on the board up to date."""

    async def refresh() -> None:
        while True:
            board.see(await manager.health(), monotonic())
            await asyncio.sleep(REFRESH_INTERVAL)

    task = asyncio.create_task(refresh(), name="demo-health")
    try:
        yield
    finally:
        await end(task)
