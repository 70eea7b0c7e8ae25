"""Durations for people."""

from __future__ import annotations


def duration(seconds: float) -> str:
    """Return a duration with its two largest units, such as "2 min 14 s"."""
    if seconds < 9.95:
        return f"{max(seconds, 0.0):.2g} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        size, unit, part, lesser = 60, "min", 1, "s"
    elif whole < 86400:
        size, unit, part, lesser = 3600, "h", 60, "min"
    else:
        size, unit, part, lesser = 86400, "d", 3600, "h"
    rest = whole % size // part
    return f"{whole // size} {unit}" + (f" {rest} {lesser}" if rest else "")
