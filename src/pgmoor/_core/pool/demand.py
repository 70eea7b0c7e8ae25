"""How many connections are to be made now. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pgmoor._core.settings.sizes import Sizes


def missing(
    sizes: Sizes, *, size: int, dialling: int, ready: int, waiting: int, elsewhere: int
) -> int:
    """Return how many dials are wanted beside those that are under way; below 0 if fewer are.

    A pool of *size* connections, of which *ready* ones are idle, is filled up to `min_size`, and
    grows while more callers are *waiting* than connections are on their way to them. No more than
    `max_size + max_overflow` are made, those that are held *elsewhere* among them.
    """
    made = size + dialling
    wanted = max(sizes.min_size - made, waiting - dialling - ready)
    return min(wanted, sizes.most - made - elsewhere)
