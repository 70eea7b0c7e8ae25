"""Draws the plots of docs/proof.md as SVGs that suit light and dark pages.

matplotlib draws with placeholder colours, which become CSS variables with a value for each scheme.
Ids and dates are fixed: the same figures give the same file.
"""

from __future__ import annotations

import io
import re
from statistics import median
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from failover_case import BEFORE, STEP
from matplotlib.figure import Figure
from proof_page import TITLES, by_interval

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from proof_page import Results, Run

# Placeholder, on light pages, on dark pages.
COLOURS = {
    "page": ("#fefefe", "#ffffff", "#161b22"),
    "text": ("#010101", "#1f2328", "#e6edf3"),
    "mute": ("#020202", "#59636e", "#9198a1"),
    "rule": ("#030303", "#d1d9e0", "#3d444d"),
    "moor": ("#040404", "#14a098", "#2ab7a9"),
    "run": ("#050505", "#0f766e", "#5eead4"),
    "peer": ("#060606", "#8592a0", "#76828f"),
    "fail": ("#070707", "#cf222e", "#f85149"),
    "two": ("#080808", "#b45309", "#f0b429"),
    "three": ("#090909", "#7c3aed", "#a78bfa"),
    "four": ("#0a0a0a", "#2563eb", "#60a5fa"),
}
C = {name: colours[0] for name, colours in COLOURS.items()}
LABELS = {
    "pgmoor": "pgmoor",
    "pgmoor-run": "pgmoor run()",
    "psycopg_pool": "psycopg_pool",
    "psycopg_pool+check": "+ check",
    "psycopg_pool+check+tcp": "+ check + TCP",
    "asyncpg": "asyncpg",
    "sqlalchemy": "SQLAlchemy",
    "hasql": "hasql",
}
LINES = {
    "pgmoor": "moor",
    "psycopg_pool": "peer",
    "psycopg_pool+check": "text",
    "asyncpg": "two",
    "sqlalchemy": "three",
    "hasql": "four",
}
STYLE = {
    "svg.hashsalt": "pgmoor",
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 10,
    "figure.facecolor": C["page"],
    "axes.facecolor": "none",
    "axes.edgecolor": C["rule"],
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.labelcolor": C["mute"],
    "axes.titlecolor": C["text"],
    "xtick.color": C["mute"],
    "ytick.color": C["mute"],
    "text.color": C["text"],
    "grid.color": C["rule"],
    "legend.frameon": False,
}
APART = 1.6  # by how much the next label stands higher, on a scale of ratios
PIXELS = 1.45  # for each point
FONT = "ui-sans-serif, system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', Arial, sans-serif"


def write_plots(results: Results, folder: Path) -> None:
    """Write all plots."""
    folder.mkdir(exist_ok=True)
    with mpl.rc_context(STYLE):
        for fault, libraries in results["faults"].items():
            figure = draw_fault(fault, libraries, results["settings"]["show"])
            _save(figure, folder / f"{fault}.svg")
        _save(draw_checkout(results), folder / "checkout.svg")
        _save(draw_detection(results), folder / "detection.svg")


def draw_fault(fault: str, libraries: dict[str, list[Run]], show: float) -> Figure:
    """Draw a strip for each library on one time axis: the median, and the range behind it."""
    names = [name for name in LABELS if any("rates" in run for run in libraries.get(name, []))]
    figure = Figure(figsize=(6.2, 0.42 * len(names) + 0.95), layout="constrained")
    strips = figure.subplots(len(names), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
    top = max(max(max(run["rates"], default=0) for run in libraries[name]) for name in names)
    for axes, name in zip(strips, names, strict=True):
        colour = C["moor"] if name.startswith("pgmoor") else C["peer"]
        low, middle, high = _curves([run["rates"] for run in libraries[name]])
        edges = [number * STEP - BEFORE for number in range(len(middle) + 1)]
        if low != high:
            axes.stairs(high, edges, baseline=low, color=colour, alpha=0.35, fill=True, lw=0)
        axes.stairs(middle, edges, color=colour, fill=True, lw=0)
        nothing = [0.08 * top if rate == 0 else 0 for rate in middle]
        axes.stairs(nothing, edges, color=C["fail"], fill=True, lw=0)
        axes.axvline(0, color=C["fail"], lw=1, ls=(0, (2, 2)))
        axes.set_ylabel(LABELS[name], rotation=0, ha="right", va="center", color=C["text"])
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        axes.set_ylim(0, top * 1.05)
        axes.set_xlim(-BEFORE, show)
        axes.tick_params(length=0)
    strips[-1].set_xlabel("seconds from the fault")
    figure.suptitle(
        f"{TITLES[fault]}: operations a second, 0 to {top:,.0f}; red: none", x=0.02, ha="left"
    )
    return figure


def _curves(runs: Sequence[Sequence[float]]) -> tuple[list[float], list[float], list[float]]:
    columns = list(zip(*runs, strict=False))
    return (
        [min(column) for column in columns],
        [median(column) for column in columns],
        [max(column) for column in columns],
    )


def draw_checkout(results: Results) -> Figure:
    """Draw the microseconds of a checkout by pool size."""
    figure = Figure(figsize=(6.2, 3.6), layout="constrained")
    axes = figure.subplots()
    sizes = sorted(map(int, results["checkout"]))
    ends = []
    for name, colour in LINES.items():
        found = [(size, results["checkout"][str(size)].get(name)) for size in sizes]
        known = [(size, micros) for size, micros in found if micros]
        places = [sizes.index(size) for size, _ in known]
        middles = [median(micros) for _, micros in known]
        width = 2.2 if name == "pgmoor" else 1.3
        axes.plot(places, middles, color=C[colour], lw=width, marker="o", ms=3.5)
        low, high = [min(m) for _, m in known], [max(m) for _, m in known]
        axes.fill_between(places, low, high, color=C[colour], alpha=0.08, lw=0)
        ends.append((middles[-1], places[-1], name, C[colour]))
    height = 0.0
    for end, place, name, colour in sorted(ends):
        height = max(end, height * APART)
        axes.text(
            place + 0.06,
            height,
            LABELS[name].replace("+", "psycopg_pool +"),
            va="center",
            color=colour,
        )
    axes.set_yscale("log")
    axes.set_xticks(range(len(sizes)), [str(size) for size in sizes])
    axes.set_xlim(-0.2, len(sizes) + 0.3)
    axes.set_xlabel("connections in the pool")
    _plainly(axes)
    figure.suptitle("Microseconds to take a connection and give it back", x=0.02, ha="left")
    return figure


def draw_detection(results: Results) -> Figure:
    """Draw the seconds until all tasks work again by health_interval."""
    figure = Figure(figsize=(6.2, 3.0), layout="constrained")
    axes = figure.subplots()
    known = [
        (interval, [run["back"] for run in runs if run.get("back") is not None])
        for interval, runs in by_interval(results)
    ]
    known = [(interval, backs) for interval, backs in known if backs]
    places = [interval for interval, _ in known]
    axes.plot(places, places, color=C["mute"], lw=1, ls=(0, (3, 3)))
    axes.annotate(
        "health_interval",
        (places[-1], places[-1]),
        xytext=(-6, 0),
        textcoords="offset points",
        ha="right",
        color=C["mute"],
    )
    middles = [median(backs) for _, backs in known]
    axes.plot(places, middles, color=C["moor"], lw=2.2, marker="o", ms=4)
    low, high = [min(backs) for _, backs in known], [max(backs) for _, backs in known]
    axes.fill_between(places, low, high, color=C["moor"], alpha=0.2, lw=0)
    axes.set_xlim(0, places[-1] * 1.05)
    axes.set_ylim(0, max(*high, places[-1]) * 1.1)
    axes.set_xlabel("health_interval, seconds")
    _plainly(axes)
    figure.suptitle("Seconds from silence until all tasks work again", x=0.02, ha="left")
    return figure


def _plainly(axes: Any) -> None:
    axes.yaxis.set_major_formatter(mpl.ticker.FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(mpl.ticker.NullFormatter())
    axes.grid(visible=True, axis="y", lw=0.6)
    axes.tick_params(length=0, which="both")


def _save(figure: Figure, path: Path) -> None:
    file = io.StringIO()
    figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    path.write_text(_adapt(file.getvalue()), encoding="utf-8")


def _in_pixels(size: re.Match[str]) -> str:
    """Return the size at which the text is as large as a page's; a page may shrink it."""
    points = next(group for group in size.groups() if group)
    name = size.group().split("=")[0]
    return f'{name}="{float(points) * PIXELS:.0f}"'


def _adapt(svg: str) -> str:
    """Put a variable in the place of each placeholder colour, and define the variables."""
    for name, (placeholder, light, _) in COLOURS.items():
        svg = re.sub(placeholder, f"var(--{name},{light})", svg, flags=re.IGNORECASE)
    svg = re.sub(r"font: ([\d.]+)px [^;\"]+", rf"font: \1px {FONT.replace(chr(39), '')}", svg)
    values = [
        "".join(f"--{name}:{of[scheme]};" for name, of in COLOURS.items()) for scheme in (1, 2)
    ]
    style = f"<style>svg{{{values[0]}}}@media (prefers-color-scheme:dark){{svg{{{values[1]}}}}}"
    svg = re.sub(r"<\?xml.*?<svg", "<svg", svg, flags=re.DOTALL)
    svg = re.sub(r" *<metadata>.*?</metadata>\n", "", svg, flags=re.DOTALL)
    start = svg.index("<defs>")
    head = re.sub(r' width="([\d.]+)pt"| height="([\d.]+)pt"', _in_pixels, svg[:start])
    # A hundredth of a point is finer than any screen.
    body = re.sub(r"(\d+\.\d\d)\d+", r"\1", svg[start:])
    lines = "\n".join(line.strip() for line in body.splitlines())
    return f"{head.rstrip()}\n{style}</style>\n{lines}\n"
