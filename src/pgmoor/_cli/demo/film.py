"""The demo as a film: what was seen when, in seconds from its beginning. `movie` draws it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from pgmoor._cli.story import Source, Tone

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .board import Board
    from .lane import Lane

STEP = 0.25  # seconds for each bar
READING = 2.0  # seconds that a caption stands at least


class Span(NamedTuple):
    """A host was in one condition for a while; *what* is a role or a status."""

    since: float
    until: float
    what: str


class Caption(NamedTuple):
    """A sentence, from an instant on."""

    at: float
    text: str
    tone: Tone


class Cell(NamedTuple):
    """A figure of the table, which is known from an instant on."""

    at: float
    text: str
    bad: bool


@dataclass(frozen=True, slots=True)
class Film:
    """All that is drawn."""

    subtitle: str
    length: float
    curves: dict[str, list[float]]
    """Commits per second in each step of `STEP` seconds, by library."""
    hosts: dict[str, list[Span]]
    faults: list[tuple[float, str]]
    captions: list[Caption]
    rows: list[tuple[str, list[Cell]]]
    verdicts: list[tuple[str, Tone]]


def make_film(board: Board) -> Film:
    """Return the film of a demo that is over."""
    start, end = board.writing_since, board.writing_until
    if start is None or end is None:
        start = end = board.story.began
    steps = max(int((end - start) / STEP), 1)
    faults = [(at - start, title) for at, title in board.strikes]
    return Film(
        subtitle=f"{board.writers} tasks write, PostgreSQL {board.pg_version}",
        length=steps * STEP,
        curves={lane.name: lane.ledger.rates(start, STEP, steps) for lane in board.lanes},
        hosts=_spans(board, start, steps * STEP),
        faults=faults,
        captions=_captions(board, start, faults),
        rows=_rows(board, faults),
        verdicts=[
            (verdict, _tone(lane, board))
            for lane, verdict in zip(board.lanes, board.verdicts, strict=True)
        ],
    )


def _tone(lane: Lane, board: Board) -> Tone:
    if lane is board.beside:
        return Tone.PLAIN
    return Tone.GOOD if board.good else Tone.BAD


def _spans(board: Board, start: float, length: float) -> dict[str, list[Span]]:
    spans: dict[str, list[Span]] = {}
    for (at, hosts), (end, _) in pairwise([*board.seen, (start + length, {})]):
        # The first report may come a moment late.
        since, until = max(at - start, 0.0) if spans else 0.0, min(end - start, length)
        for name, what in hosts.items():
            known = spans.setdefault(name, [])
            if known and known[-1].what == what:
                known[-1] = known[-1]._replace(until=until)
            elif until > since:
                known.append(Span(since, until, what))
    return dict(sorted(spans.items()))


def _captions(board: Board, start: float, faults: Sequence[tuple[float, str]]) -> list[Caption]:
    """Return each fault, and the first good news of pgmoor after it."""
    offset = start - board.story.began
    found = []
    for (at, title), (until, _) in pairwise([*faults, (float("inf"), "")]):
        found.append(Caption(at, title, Tone.BAD))
        news = (
            line
            for line in board.story.lines
            if line.source is Source.PGMOOR
            and line.tone is Tone.GOOD
            and at <= line.at - offset < until
        )
        if (line := next(news, None)) is not None:
            seen = max(line.at - offset, at + READING)
            found.append(Caption(seen, f"pgmoor: {line.text}", Tone.GOOD))
    return found


def _rows(board: Board, faults: Sequence[tuple[float, str]]) -> list[tuple[str, list[Cell]]]:
    rows = []
    for number, (at, title) in enumerate(faults):
        cells = []
        for lane in board.lanes:
            if number >= len(lane.results):
                continue
            result = lane.results[number]
            known = at + (result.patience if result.back is None else result.back)
            cells.append(Cell(known, result.back_text, result.back is None))
            cells.append(Cell(known, f"{result.failed:,}", bad=False))
        rows.append((title, cells))
    return rows
