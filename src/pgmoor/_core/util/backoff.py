"""How long to wait before the next attempt; the only file that knows the `backoff` package.

Only its wait generators and `full_jitter` are used: its decorators rest on
`asyncio.iscoroutinefunction`, which Python is removing.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from backoff import expo, full_jitter

if TYPE_CHECKING:
    from collections.abc import Iterator


def delays(base: float, cap: float) -> Iterator[float]:
    """Yield delays in seconds: *base* doubling up to *cap*, each with full jitter.

    The jitter comes after the cap, so that programs that have reached the cap still spread out
    (AWS Architecture Blog, "Exponential Backoff And Jitter").
    """
    generator = expo(base=2, factor=base, max_value=cap)
    next(generator)  # its first value only starts it
    for value in generator:
        yield full_jitter(value)


def spread(period: float) -> float:
    """Return *period* shortened by up to a fifth, so that many programs do not probe in step."""
    return period * random.uniform(0.8, 1.0)
