"""Draws the film of a demo as an SVG that plays in a loop, on light and on dark pages.

CSS animates it. Every element's own attributes show the end of the film, so a viewer without
animation, and one that prefers reduced motion, shows a still picture of all results.
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from pgmoor._cli.story import Tone

from .film import READING, STEP

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .film import Cell, Film, Span

WIDTH, EDGE, LEFT = 680, 20, 64  # LEFT: where time begins
RIGHT = WIDTH - EDGE
SPAN = RIGHT - LEFT
BAR, GAP = 13, 6  # the bars of the hosts
ROW = 25
COLUMN = 88
SPEED = 2.2  # seconds of the demo in one of the film
SHORTEST, LONGEST, STILL = 6.0, 22.0, 5.0  # seconds of the film; STILL is how long the end stands

FONT = "ui-sans-serif, system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', Arial, sans-serif"
# By class: on light pages, and on dark ones.
COLOURS = {
    "page": ("#ffffff", "#161b22"),
    "text": ("#1f2328", "#e6edf3"),
    "mute": ("#59636e", "#9198a1"),
    "rule": ("#d1d9e0", "#3d444d"),
    "good": ("#0f766e", "#2dd4bf"),
    "bars": ("#14a098", "#2ab7a9"),
    "peer": ("#8592a0", "#76828f"),
    "fail": ("#cf222e", "#f85149"),
    "idle": ("#c9d5e0", "#33404d"),
    "warn": ("#d98a00", "#d29922"),
}
ABOUT = "Servers are killed, frozen, demoted and restarted while tasks write."
TONE_CLASSES = {Tone.GOOD: "good", Tone.BAD: "fail", Tone.PLAIN: "mute"}
HOST_CLASSES = {"primary": "bars", "standby": "idle", "unknown": "idle"}
STALE = ("stale primary", "read-only primary")
LEGEND = (("bars", "primary"), ("idle", "standby"), ("warn", "old primary"), ("fail", "gone"))


def draw(film: Film) -> str:
    """Return the SVG."""
    return _Drawing(film).text()


class _Drawing:
    def __init__(self, film: Film) -> None:
        self._film = film
        self._play = min(max(film.length / SPEED, SHORTEST), LONGEST)
        self._loop = self._play + STILL
        self._parts: list[str] = []
        self._above: list[str] = []  # what the curtain never covers
        self._frames: list[str] = []
        self._y = 0.0

    def text(self) -> str:
        film = self._film
        self._heading()
        self._captions()
        top = self._y
        self._hosts()
        for number, (name, rates) in enumerate(film.curves.items()):
            self._curve(name, rates, "peer" if number else "bars")
        self._marks(top)
        self._curtain(top)
        self._table()
        self._verdicts()
        height = self._y + 8
        label = escape(f"pgmoor demo: {film.subtitle}. " + " ".join(v for v, _ in film.verdicts))
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}"'
            f' role="img" aria-label="{label}">\n<style>\n{self._style()}</style>\n'
            f'<rect class="page" x=".5" y=".5" width="{WIDTH - 1}" height="{height - 1:.0f}"'
            ' rx="8"/>\n' + "\n".join(self._parts) + "\n</svg>\n"
        )

    # -- parts ---------------------------------------------------------------------------------

    def _heading(self) -> None:
        film = self._film
        self._say(EDGE, 32, "pgmoor demo", "text title")
        pace = f"{film.length:.0f} s shown in {self._play:.0f}"
        self._say(RIGHT, 32, f"{film.subtitle}; {pace}", "mute end")
        first = film.faults[0][0] if film.faults else film.length
        for name, seen in ((self._shown(0, first), 0), (self._shown(film.length, None), 1)):
            self._say(EDGE, 58, ABOUT, f"mute {name}", seen)

    def _captions(self) -> None:
        captions = self._film.captions
        for caption, following in zip(captions, [*captions[1:], None], strict=True):
            until = following.at if following else self._film.length
            name = self._shown(caption.at, min(until, caption.at + 4 * READING))
            kind = TONE_CLASSES[caption.tone]
            self._say(EDGE, 58, _cut(caption.text, 84), f"{kind} {name}", opacity=0)
        self._y = 74

    def _hosts(self) -> None:
        for name, spans in self._film.hosts.items():
            self._say(LEFT - 10, self._y + BAR - 2, name, "mute end")
            for span in spans:
                self._host(span)
            self._y += BAR + GAP
        x = LEFT
        for kind, text in LEGEND:
            self._above.append(_rect(x, self._y + 3, 10, 10, kind))
            self._above.append(_text(x + 15, self._y + 12, text, "mute small"))
            x += 32 + 7 * len(text)
        self._y += 26

    def _host(self, span: Span) -> None:
        kind = "warn" if span.what in STALE else HOST_CLASSES.get(span.what, "fail")
        x, until = self._x(span.since), self._x(span.until)
        self._parts.append(_rect(x, self._y, until - x, BAR, kind))

    def _curve(self, name: str, rates: Sequence[float], kind: str) -> None:
        top = max([1.0, *(rate for some in self._film.curves.values() for rate in some)])
        height = 84 if len(self._film.curves) > 1 else 120
        self._above.append(_text(LEFT, self._y + 10, name, "text strong"))
        if kind == "bars":
            self._above.append(_text(RIGHT, self._y + 10, "commits a second", "mute small end"))
        base = self._y + 18 + height
        self._say(LEFT - 10, self._y + 28, f"{top:,.0f}", "mute small end")
        self._say(LEFT - 10, base, "0", "mute small end")
        path = f"M{LEFT} {base:.1f}"
        for number, rate in enumerate(rates):
            y = base - rate / top * height
            path += f"V{y:.1f}H{self._x((number + 1) * STEP):.1f}"
        self._parts.append(f'<path class="{kind}" d="{path}V{base:.1f}Z"/>')
        for since, until in _zeros(rates):
            width = self._x(until) - self._x(since)
            self._parts.append(_rect(self._x(since), base - 4, width, 4, "fail"))
        self._parts.append(f'<path class="line" d="M{LEFT} {base + 0.5:.1f}H{RIGHT}"/>')
        self._y = base + 14

    def _marks(self, top: float) -> None:
        base = self._y - 12
        for at, title in self._film.faults:
            x = self._x(at)
            self._parts.append(f'<path class="mark" d="M{x:.1f} {top:.0f}V{base:.0f}"/>')
            self._parts.append(f'<path class="fail" d="M{x:.1f} {base + 2:.0f}l4 7h-8z"/>')
            self._say(x + 7, base + 11, title.partition(":")[0], "mute tiny")
        self._y += 18

    def _curtain(self, top: float) -> None:
        """Cover what has not happened yet: it opens as time goes on."""
        height = self._y - top - 4
        share = self._play / self._loop * 100
        self._frames.append(
            "@keyframes curtain{0%{opacity:1;transform:none}"
            f"{share:.2f}%,to{{opacity:1;transform:scaleX(0)}}}}\n"
            f"@keyframes head{{0%{{opacity:1;transform:none}}{share:.2f}%{{opacity:1;"
            f"transform:translateX({SPAN}px)}}{share + 0.1:.2f}%,to{{opacity:0}}}}\n"
            f".curtain{{transform-origin:{RIGHT}px 0;{self._animation('curtain')}}}\n"
            f".head{{{self._animation('head')}}}\n"
        )
        self._parts.append(
            f'<g class="curtain" opacity="0"><rect class="cover" x="{LEFT}" y="{top - 1:.0f}"'
            f' width="{SPAN + 2}" height="{height:.0f}"/></g>'
        )
        self._parts += self._above
        self._parts.append(
            f'<path class="head playhead" opacity="0" d="M{LEFT} {top:.0f}v{height - 20:.0f}"/>'
        )

    def _table(self) -> None:
        names = list(self._film.curves)
        columns = [f"{what}" for _ in names for what in ("back after", "failed")]
        self._y += 12
        ends = [RIGHT - COLUMN * (len(columns) - 1 - number) for number in range(len(columns))]
        if len(names) > 1:
            for number, name in enumerate(names):
                middle = ends[2 * number + 1] - COLUMN / 2 - 14
                self._say(middle, self._y, name, "text strong middle")
            self._y += 18
        for end, column in zip(ends, columns, strict=True):
            self._say(end, self._y, column, "mute small end")
        self._parts.append(f'<path class="line" d="M{EDGE} {self._y + 8.5:.1f}H{RIGHT}"/>')
        for (at, _), (title, cells) in zip(self._film.faults, self._film.rows, strict=True):
            self._y += ROW
            self._say(EDGE, self._y, title, f"text {self._shown(at, None)}")
            for end, cell in zip(ends, cells, strict=False):
                self._cell(end, cell)
        self._y += 12

    def _cell(self, x: float, cell: Cell) -> None:
        kind = "fail strong" if cell.bad else "text"
        self._say(x, self._y, cell.text, f"{kind} end {self._shown(cell.at, None)}")

    def _verdicts(self) -> None:
        name = self._shown(self._film.length, None)
        for verdict, tone in self._film.verdicts:
            self._y += 20
            self._say(EDGE, self._y, verdict, f"{TONE_CLASSES[tone]} small {name}")
        self._y += 6

    # -- pieces --------------------------------------------------------------------------------

    def _x(self, seconds: float) -> float:
        return LEFT + min(max(seconds / self._film.length, 0.0), 1.0) * SPAN

    def _say(self, x: float, y: float, text: str, kind: str, opacity: int = 1) -> None:
        self._parts.append(_text(x, y, text, kind, opacity))

    def _shown(self, since: float, until: float | None) -> str:
        """Return the class of what is shown from one instant of the demo to another, or on."""
        name = f"k{len(self._frames)}"
        begins = self._share(since)
        frames = f"0%,{begins:.2f}%{{opacity:0}}{begins + 0.4:.2f}%"
        if until is None:
            frames += ",to{opacity:1}"
        else:
            ends = max(self._share(until), begins + 1)
            frames += f",{ends - 0.4:.2f}%{{opacity:1}}{ends:.2f}%,to{{opacity:0}}"
        self._frames.append(f"@keyframes {name}{{{frames}}}\n.{name}{{{self._animation(name)}}}\n")
        return name

    def _animation(self, frames: str) -> str:
        # It begins with the end, which is what a glance, or a thumbnail, is to show.
        return f"animation:{frames} {self._loop:.1f}s linear -{self._play:.1f}s infinite"

    def _share(self, seconds: float) -> float:
        share = min(max(seconds / self._film.length, 0.0), 1.0)
        return share * self._play / self._loop * 100

    def _style(self) -> str:
        return (
            f"text{{font:14px {FONT};font-variant-numeric:tabular-nums}}\n"
            ".small{font-size:12.5px}.title{font-size:18px;font-weight:700}"
            ".tiny{font-size:11.5px}.strong{font-weight:700}"
            ".end{text-anchor:end}.middle{text-anchor:middle}\n"
            + _colours(0)
            + "@media (prefers-color-scheme:dark){\n"
            + _colours(1)
            + "}\n@media (prefers-reduced-motion:no-preference){\n"
            + "".join(self._frames)
            + "}\n"
        )


def _text(x: float, y: float, text: str, kind: str, opacity: int = 1) -> str:
    seen = "" if opacity else ' opacity="0"'
    return f'<text class="{kind}" x="{x:.0f}" y="{y:.0f}"{seen}>{escape(text)}</text>'


def _rect(x: float, y: float, width: float, height: float, kind: str) -> str:
    return f'<rect class="{kind}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height}"/>'


def _colours(scheme: int) -> str:
    of = {name: pair[scheme] for name, pair in COLOURS.items()}
    rules = [f".{name}{{fill:{colour}}}" for name, colour in of.items()]
    rules.append(f".page{{stroke:{of['rule']}}}.cover{{fill:{of['page']}}}")
    rules.append(f".line{{stroke:{of['rule']};fill:none}}.playhead{{stroke:{of['mute']}}}")
    rules.append(f".mark{{stroke:{of['fail']};stroke-dasharray:2 3;opacity:.6}}")
    return "".join(rules) + "\n"


def _zeros(rates: Sequence[float]) -> list[tuple[float, float]]:
    """Return since and until when there was no commit."""
    found: list[tuple[float, float]] = []
    for number, rate in enumerate(rates):
        if rate:
            continue
        begins, ends = number * STEP, (number + 1) * STEP
        if found and found[-1][1] == begins:
            begins = found.pop()[0]
        found.append((begins, ends))
    return found


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
