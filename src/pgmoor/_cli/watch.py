"""`pgmoor watch`: the hosts, live, and whether a program would get its answers."""

from __future__ import annotations

import asyncio
import contextlib
from bisect import bisect_left
from dataclasses import dataclass, field
from itertools import pairwise
from time import monotonic
from typing import TYPE_CHECKING

import psycopg
from rich.console import Group
from rich.layout import Layout
from rich.padding import Padding
from rich.text import Text

from pgmoor.events import Failback, Failover

from .check import make_manager, quiet
from .display import REFRESH_INTERVAL, end, start_refresh, warnings_in
from .frames import FRAME, TALL, LiveScreen, boxed, event_lines, ruled
from .graph import LABEL, draw
from .lines import Lines
from .story import Story
from .tables import ACCENT, MUTED, host_table

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from pgmoor import ConnectionManager, Health
    from pgmoor.events import Event

    from .check import Wanted
    from .display import Display

STEP = 0.5  # seconds for each column of the graph
KEPT = 20_000  # answers: as many as a graph can show


@dataclass(slots=True)
class Watched:
    """All that can be shown; instants are `time.monotonic()`."""

    target: str = ""
    story: Story = field(default_factory=Story)
    health: Health | None = None
    answers: list[float] = field(default_factory=list)
    """When each of the newest questions was answered."""
    count: int = 0
    latency: float | None = None
    """Seconds from the wish to ask to the newest answer: a checkout and a round trip."""
    longest: float = 0.0
    failed: int = 0
    marks: list[tuple[float, str]] = field(default_factory=list)
    """When all callers moved to another host."""

    def add_event(self, event: Event) -> None:
        """Take over an event of pgmoor."""
        self.story.add_event(event)
        if isinstance(event, Failover | Failback):
            self.marks.append((monotonic(), type(event).__name__.lower()))

    def answered(self, latency: float) -> None:
        """Take over an answer that took *latency* seconds."""
        if len(self.answers) >= 2 * KEPT:
            del self.answers[:KEPT]
        self.answers.append(monotonic())
        self.count += 1
        self.latency = latency
        self.longest = max(self.longest, latency)

    def rates(self, start: float, step: float, count: int) -> list[float]:
        """Return the answers per second in each of *count* steps from *start*."""
        places = [bisect_left(self.answers, start + step * n) for n in range(count + 1)]
        return [(after - before) / step for before, after in pairwise(places)]

    @property
    def summary(self) -> str:
        """How the questions fared."""
        text = f"{self.count:,} answers, longest wait {_duration(self.longest)}"
        return f"{text}, {self.failed} failed"


async def watch(wanted: Wanted, watched: Watched, display: Display, interval: float) -> None:
    """Ask every *interval* seconds, and show everything, until the task is cancelled.

    Raises `ConfigError` if the settings can't be used.
    """
    quiet()
    manager = make_manager(
        wanted, timeout=wanted.timeout, max_size=2, on_event=watched.add_event, name="watch"
    )
    watched.target = manager._settings.target.value  # noqa: SLF001  what follows from the hosts
    with display, warnings_in(watched.story):
        async with contextlib.AsyncExitStack() as stack:
            stack.push_async_callback(end, start_refresh(display))
            await stack.enter_async_context(manager)
            stack.push_async_callback(end, asyncio.create_task(_look(manager, watched)))
            await _ask(manager, watched, interval)


async def _look(manager: ConnectionManager, watched: Watched) -> None:
    while True:
        watched.health = manager.snapshot()
        await asyncio.sleep(REFRESH_INTERVAL)


async def _ask(manager: ConnectionManager, watched: Watched, interval: float) -> None:
    while True:
        began = monotonic()
        try:
            async with manager.connection() as conn:
                await conn.execute("select 1")
        except psycopg.Error:
            watched.failed += 1
        else:
            watched.answered(monotonic() - began)
        await asyncio.sleep(max(began + interval - monotonic(), 0))


class WatchLines(Lines):
    """Prints events as they happen, and the state every other second."""

    def __init__(self, watched: Watched) -> None:
        super().__init__(watched.story)
        self._watched = watched

    def state(self) -> str | None:
        health = self._watched.health
        if health is None:
            return None
        hosts = ", ".join(
            f"{host.host} {host.role_label if host.status == 'up' else host.status}"
            for host in health.hosts
        )
        return f"{_rate(self._watched)}; {hosts}"

    def finish(self) -> None:
        """Print the rest."""
        self.update()
        print(self._watched.summary)  # noqa: T201


class WatchScreen(LiveScreen):
    """Draws everything on a terminal, and leaves a table of the hosts there at the end."""

    def __init__(self, watched: Watched, console: Console) -> None:
        super().__init__(console)
        self._watched = watched

    def render(self, width: int, height: int) -> RenderableType:
        watched = self._watched
        tall = height >= TALL
        frame, borders, bars = (boxed, 2, 6) if tall else (ruled, 1, 3)
        hosts = 1 if watched.health is None else len(watched.health.hosts)
        rows = 1 + (hosts + 1 + borders) + (bars + 1 + borders)
        graph = _graph(watched, width - FRAME, bars)
        fixed = Group(
            _header(watched), frame("hosts", _hosts(watched)), frame("answers per second", graph)
        )
        events = frame("events", event_lines(watched.story, height - rows - borders))
        layout = Layout()
        layout.split_column(Layout(fixed, size=rows), Layout(events, minimum_size=1))
        return layout

    def finish(self) -> None:
        """Print the hosts as they were last seen, and how the questions fared."""
        if self._watched.health is not None:
            self.console.print(_hosts(self._watched))
            self.console.print(Text(self._watched.summary))


def _header(watched: Watched) -> RenderableType:
    text = Text("pgmoor", style="bold " + ACCENT)
    text.append(f" watch, target {watched.target}", style="bold")
    text.append(f"  {watched.story.elapsed:.0f} s, {_rate(watched)}", style=MUTED)
    text.append(f"; {watched.summary}", style=MUTED)
    text.no_wrap, text.overflow = True, "ellipsis"
    return Padding(text, (0, 1))


def _hosts(watched: Watched) -> RenderableType:
    if watched.health is None:
        return Text("no answer yet", style=MUTED)
    return host_table([(host.host, host) for host in watched.health.hosts])


def _graph(watched: Watched, width: int, height: int) -> Text:
    columns = max(width - LABEL, 1)
    last = monotonic() // STEP * STEP
    began = watched.story.began // STEP * STEP
    start = max(began, last - columns * STEP)
    rates = watched.rates(start, STEP, max(int((last - start) / STEP), 0))
    marks = {int((at - start) // STEP): name for at, name in watched.marks if at >= start}
    return draw({"answers": rates}, marks, height)


def _rate(watched: Watched) -> str:
    (rate,) = watched.rates(monotonic() - 1, 1, 1)
    if watched.latency is None:
        return "no answer yet"
    if not rate and watched.answers:
        return f"no answer for {_duration(monotonic() - watched.answers[-1])}"
    return f"{rate:.0f} answers/s, the last after {_duration(watched.latency)}"


def _duration(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"
