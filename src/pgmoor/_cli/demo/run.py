"""Runs the demo: servers, a manager over them, writers, the scenes one after the other, the audit.

What is done is in `scenes` and `writers`; how it looks in `screen` and `plain`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, Protocol, Self

from pgmoor import ConnectionManager
from pgmoor.testing import Cluster

from .board import Board
from .ledger import CREATE, Ledger, audit
from .scenes import ALL, QUICK, play
from .stage import Stage
from .story import LogLines, Story, Tone, Voice
from .writers import Writers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from types import TracebackType

FRAMES = 0.125  # seconds between two frames
TIMEOUT = 10.0  # seconds for the manager to fill its pool at the start


class Display(Protocol):
    """Shows a board."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...

    def update(self) -> None:
        """Show what has become of the board."""

    def finish(self) -> None:
        """Show the results; called once, after the last update and outside `with`."""


@dataclass(frozen=True, slots=True)
class Options:
    """What was asked for on the command line."""

    pg_version: int = 18
    writers: int = 16
    quick: bool = False


def make_board(options: Options) -> Board:
    """Return the board of a demo that has not begun."""
    return Board(
        story=Story(),
        ledger=Ledger(options.writers),
        scenes=QUICK if options.quick else ALL,
        writers=options.writers,
        pg_version=options.pg_version,
    )


async def run(board: Board, display: Display) -> None:
    """Run the whole demo; every server is gone when it returns, however it ends."""
    story = board.story
    cluster = Cluster(standbys=2, version=board.pg_version, synchronous=True)
    with display, _logs(story):
        async with contextlib.AsyncExitStack() as stack:
            stack.push_async_callback(_end, _start_refresh(display))
            story.say(Voice.DEMO, "starting a primary and two standbys, synchronous replication")
            await stack.enter_async_context(cluster)
            await _perform(board, cluster)
    board.duration = story.elapsed


async def _perform(board: Board, cluster: Cluster) -> None:
    story = board.story
    story.names = {f"{node.host}:{node.port}": node.name for node in cluster}
    stage = Stage(cluster, story)
    story.say(Voice.DEMO, f"{stage.primary.name} is the primary, the others stream from it")
    await stage.primary.sql(CREATE)
    manager = ConnectionManager(cluster.conninfo(), max_size=8, on_event=story.hear)
    async with manager, _watched(board, manager):
        await manager.wait(TIMEOUT)
        async with Writers(manager, board.ledger, board.writers) as writers:
            try:
                await _play_all(board, stage)
            except BaseException:
                # Whoever waits for a server that is gone waits no longer: Ctrl-C takes no time-out.
                await cluster.close()
                raise
            await writers.finish()
            board.writing_until = monotonic()
        await _conclude(board, stage)
        board.health = await manager.health(fresh=True)


async def _play_all(board: Board, stage: Stage) -> None:
    board.writing_since = monotonic()
    for number, scene in enumerate(board.scenes):
        board.scene = number
        board.story.say(Voice.SCENE, scene.title)
        await play(scene, stage, board)


async def _conclude(board: Board, stage: Stage) -> None:
    """Read everything back, after the last word of the writers."""
    last = stage.primary.conninfo()
    board.audit = await asyncio.to_thread(audit, last, board.ledger.acknowledged)
    board.scene = None
    board.story.say(Voice.DEMO, board.verdict, Tone.GOOD if board.good else Tone.BAD)


@contextlib.asynccontextmanager
async def _watched(board: Board, manager: ConnectionManager) -> AsyncIterator[None]:
    """Keep the manager's health on the board."""

    async def watch() -> None:
        while True:
            board.health = await manager.health()
            await asyncio.sleep(FRAMES)

    task = asyncio.create_task(watch(), name="demo-health")
    try:
        yield
    finally:
        await _end(task)


def _start_refresh(display: Display) -> asyncio.Task[None]:
    """Let it show the board. One that fails, on a closed pipe say, ends the demo."""
    performer = asyncio.current_task()
    assert performer is not None

    async def refresh() -> None:
        try:
            while True:
                display.update()
                await asyncio.sleep(FRAMES)
        except Exception:
            performer.cancel()
            raise

    return asyncio.create_task(refresh(), name="demo-display")


async def _end(task: asyncio.Task[None]) -> None:
    """Stop a task; raise what had ended it before, if anything."""
    task.cancel()
    await asyncio.wait([task])
    if not task.cancelled():
        task.result()


@contextlib.contextmanager
def _logs(story: Story) -> Iterator[None]:
    """Put warnings into the story: on a terminal they would tear the screen."""
    handler = LogLines(story)
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)
