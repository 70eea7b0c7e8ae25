"""What becomes of a connection that comes back."""

from __future__ import annotations

from enum import Enum


class Fate(Enum):
    """What becomes of a connection that comes back."""

    REUSE = "reuse"  # the next caller may have it as it is
    RESET = "reset"  # it is rolled back, or reset, first
    CLOSE = "close"


REUSE, RESET, CLOSE = Fate  # a global is found faster than an enum's member
