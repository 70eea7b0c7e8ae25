"""The chart of the pool's use over the last minutes, as inline SVG. Pure.

Colours and strokes are in page.css. The chart has no text, because it is stretched to the width of
the page.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .history import SPAN, stretches

if TYPE_CHECKING:
    from collections.abc import Callable

    from .history import Sample

HEIGHT = 100  # units; the width is one unit a second
HEADROOM = 1.06  # of the scale above the highest value, so that its line is not cut


def chart(samples: list[Sample], now: float) -> str:
    """Return the chart of *samples* at the instant *now* of the monotonic clock."""
    top = highest(samples)
    parts = [_outages(samples, now)]
    for group in stretches(samples):
        for name, value in SERIES.items():
            if name == "waiting" and not any(sample.waiting for sample in group):
                continue
            path = _steps([(_x(sample.at, now), _y(value(sample), top)) for sample in group])
            if name == "used":
                first, last = _x(group[0].at, now), _x(group[-1].at, now)
                parts.append(
                    f'<path class="area" d="{path}V{HEIGHT}H{first:g}z"/>' * (last > first)
                )
            parts.append(f'<path class="line {name}" d="{path}"/>')
    return (
        f'<svg viewBox="0 0 {SPAN} {HEIGHT}" preserveAspectRatio="none" role="img"'
        f' aria-label="{summary(samples)}">{"".join(parts)}</svg>'
    )


SERIES: dict[str, Callable[[Sample], int]] = {
    "used": lambda sample: sample.used,
    "size": lambda sample: sample.size,
    "limit": lambda sample: sample.limit,
    "waiting": lambda sample: sample.waiting,
}


def highest(samples: list[Sample]) -> int:
    """Return the value at the top of the scale."""
    return max((max(sample[1:5]) for sample in samples), default=1) or 1


def summary(samples: list[Sample]) -> str:
    """Return what the chart shows in words, for screen readers."""
    if not samples:
        return "Pool use: no samples yet"
    last = samples[-1]
    not_ready = sum(not sample.ready for sample in samples)
    return (
        f"Pool use over the last {SPAN // 60} minutes: {last.used} of {last.limit} in use now,"
        f" {max(sample.used for sample in samples)} at most;"
        f" {max(sample.waiting for sample in samples)} callers waiting at most;"
        f" not ready for {not_ready} s"
    )


def _x(at: float, now: float) -> float:
    return round(max(SPAN - (now - at), 0.0), 1)


def _y(value: int, top: int) -> float:
    return round(HEIGHT - HEIGHT * value / (top * HEADROOM), 1)


def _steps(points: list[tuple[float, float]]) -> str:
    """Return a path that holds each value until the next. A value that repeats adds nothing."""
    (x, y), *rest = points
    path = [f"M{x:g} {y:g}"]
    for x, new in rest:
        if new != y:
            path.append(f"H{x:g}V{new:g}")
            y = new
    return "".join((*path, f"H{x:g}"))


def _outages(samples: list[Sample], now: float) -> str:
    """Return the areas of the times when the manager was not ready."""
    found: list[list[float]] = []
    for group in stretches(samples):
        before = True
        for sample in group:
            x = _x(sample.at, now)
            if not before:
                found[-1][1] = x
            if not sample.ready and before:
                found.append([x, x])
            before = sample.ready
    return "".join(
        f'<rect class="outage" x="{start:g}" y="0" width="{max(end - start, 1):g}"'
        f' height="{HEIGHT}"/>'
        for start, end in found
    )
